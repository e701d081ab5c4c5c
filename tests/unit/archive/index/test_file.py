import json
import random
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import make_dicom as make
from dicom_series_preview.archive.index.build import build
from dicom_series_preview.archive.index.damage import DamagedIndexError
from dicom_series_preview.archive.index.index import Index
from indexing import PROVENANCE, records_of, series, some_series


@pytest.mark.parametrize("version", [0, 3])
def test_a_file_of_another_schema_is_damaged(version):
    """An index of another schema version is not read, but built anew."""
    table = build(records_of(series(make.image())), PROVENANCE)
    key = b"dicom_series_preview"
    document = {**json.loads(table.schema.metadata[key]), "schema_version": version}
    other = table.replace_schema_metadata({**table.schema.metadata, key: json.dumps(document)})
    sink = pa.BufferOutputStream()
    pq.write_table(other, sink)
    with pytest.raises(DamagedIndexError, match=f"schema version {version}"):
        Index.from_parquet(bytes(sink.getvalue()))


def test_a_file_without_a_column_is_damaged():
    """An index without one of its columns is not read."""
    table = build(records_of(series(make.image())), PROVENANCE).drop_columns(["Stack"])
    with pytest.raises(DamagedIndexError, match="Stack"):
        Index.from_parquet(Index(table).to_parquet())


def test_a_flipped_bit_of_the_metadata_is_damage_or_can_be_read():
    """Wherever it lies behind the pages, which have checksums: no other error than a damaged index's."""
    data = Index(build(records_of(series(*some_series())), PROVENANCE)).to_parquet()
    length = int.from_bytes(data[-8:-4], "little") + 8
    read = 0
    for at in range(len(data) - length, len(data), 97):
        flipped = bytearray(data)
        flipped[at] ^= 1 << at % 8
        try:
            index = Index.from_parquet(bytes(flipped))
        except DamagedIndexError:
            continue
        read += 1
        assert index.provenance
        assert index.records()
    assert read


def test_another_parquet_file_is_no_index():
    """A Parquet file of somebody else is not read as an index."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}), sink)
    with pytest.raises(DamagedIndexError):
        Index.from_parquet(bytes(sink.getvalue()))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({"dicom_series_preview": "{no json"}), sink)
    with pytest.raises(DamagedIndexError):
        Index.from_parquet(bytes(sink.getvalue()))


def test_every_part_of_a_file_is_damaged():
    """A file that is cut off, empty or none at all is damaged, and never half an index."""
    data = Index(build(records_of(series(make.image(1), make.image(2))), PROVENANCE)).to_parquet()
    for end in [*range(0, len(data), 997), len(data) - 1]:
        with pytest.raises(DamagedIndexError):
            Index.from_parquet(data[:end])


def test_damaged_pages_are_found():
    """Bytes that changed in the file's pages are found by their checksum, not shown as values."""
    data = Index(build(records_of(series(*some_series())), PROVENANCE)).to_parquet()
    footer = struct.unpack("<I", data[-8:-4])[0]
    undamaged = Index.from_parquet(data).table.to_pylist()
    choice = random.Random(1)
    for _ in range(60):
        damaged = bytearray(data)
        damaged[choice.randrange(4, len(data) - footer - 8)] ^= 1 << choice.randrange(8)
        try:
            table = Index.from_parquet(bytes(damaged)).table
        except DamagedIndexError:
            continue
        assert str(table.to_pylist()) == str(undamaged)
