import json
import random

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import make_dicom as make
from dicom_series_preview.archive.index.build import build
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.index.records import Provenance, Skipped
from dicom_series_preview.archive.index.schema import FIXED_COLUMNS, SCHEMA_VERSION
from indexing import (
    PROVENANCE,
    by_file,
    cells,
    index_of,
    metadata_of,
    records_of,
    series,
    table_of,
)

# The columns that the specification names first, exactly.
FIRST_COLUMNS = {
    "Index": pa.uint32(),
    "FileName": pa.utf8(),
    "SeriesUID": pa.utf8(),
    "StorageRoot": pa.utf8(),
    "PrimaryPosition": pa.float32(),
    "PrimaryAxis": pa.utf8(),
    "InstanceNumber": pa.int32(),
    "SOPInstanceUID": pa.utf8(),
    "SliceLocation": pa.float32(),
    "FrameNumber": pa.int32(),
    "Stack": pa.int32(),
}


def constants_of(table):
    """The constant elements as DICOM JSON."""
    return json.loads(table.schema.metadata[b"dicom_series_preview.constant_elements"])


def write(table, folder):
    """The table as a Parquet file."""
    path = folder / "series_index.parquet"
    path.write_bytes(Index(table).to_parquet())
    return path


# --- the schema


def test_the_first_columns_are_the_specified_ones():
    """The first columns and their types are exactly those that the specification names."""
    schema = table_of(make.image(1), make.image(2)).schema
    assert {field.name: field.type for field in list(schema)[: len(FIRST_COLUMNS)]} == FIRST_COLUMNS
    assert schema.names[: len(FIRST_COLUMNS)] == list(FIRST_COLUMNS)
    assert [field.name for field in schema][: len(FIXED_COLUMNS)] == [column.name for column in FIXED_COLUMNS]


def test_position_and_orientation_are_lists_of_float64():
    """ImagePositionPatient and ImageOrientationPatient are always there, as lists of Float64."""
    for source in (make.image(1), make.report(1)):
        table = table_of(source)
        for name in ("ImagePositionPatient", "ImageOrientationPatient"):
            assert table.schema.field(name).type == pa.list_(pa.float64())
    assert cells(table_of(make.image(7)), "ImagePositionPatient") == [[0.0, 0.0, 7.0]]
    assert cells(table_of(make.report(1)), "ImagePositionPatient") == [None]


def test_the_fixed_columns_say_what_later_reads_need():
    """Size, version, encoding, place and description of each frame stand in the index."""
    objects = series(make.image(1), make.image(2, NumberOfFrames=2, PixelData=bytes(96)))
    table = build(records_of(objects), PROVENANCE)
    assert cells(table, "Index") == [0, 1, 2]
    assert cells(table, "FileName") == ["001.dcm", "001.dcm", "000.dcm"]
    assert cells(table, "FrameNumber") == [1, 2, 1]
    assert cells(table, "ObjectSize") == [len(objects[name]) for name in cells(table, "FileName")]
    assert cells(table, "ObjectVersion") == [f"v-{name}" for name in cells(table, "FileName")]
    assert set(cells(table, "TransferSyntaxUID")) == {make.EXPLICIT}
    assert cells(table, "FrameLength") == [48] * 3
    data = objects["000.dcm"]
    assert data[cells(table, "FrameOffset")[2] :] == make.PIXELS
    assert cells(table, "PixelKeyword") == ["PixelData"] * 3
    assert set(cells(table, "SeriesUID")) == {"series"}
    assert set(cells(table, "StorageRoot")) == {"memory://objects"}
    assert cells(table, "PixelSpacing") == [[0.5, 0.25]] * 3
    assert set(cells(table, "RescaleIntercept")) == {-1024.0}


def test_elements_with_one_value_stand_once():
    """What is the same everywhere is no column of the table, but DICOM JSON in its metadata."""
    table = table_of(make.image(1, Manufacturer="A", KVP=120), make.image(2, Manufacturer="A", KVP=140))
    assert "Manufacturer" not in table.column_names
    assert "KVP" in table.column_names
    constants = constants_of(table)
    assert constants["00080070"] == {"vr": "LO", "Value": ["A"]}
    assert "00180060" not in constants
    assert "PatientName" not in table.column_names


def test_equal_values_that_are_written_otherwise_stay_so():
    """-0.0 equals 0.0, and each row has the one that its object has."""
    cosines = [[1.0, 0.0, 0.0, 0.0, 1.0, zero] for zero in (0.0, -0.0)]
    objects = [
        make.encode(make.image(i, ImageOrientationPatient=each), make.EXPLICIT)
        for i, each in enumerate(cosines)
    ]
    table = index_of({str(i): data for i, data in enumerate(objects)}).table
    rows = zip(table["FileName"].to_pylist(), table["ImageOrientationPatient"].to_pylist(), strict=True)
    assert {name: str(row[5]) for name, row in rows} == {"0": "0.0", "1": "-0.0"}


def test_an_element_that_some_objects_lack_varies():
    """An element that one object has and another has not is a column, empty where it is missing."""
    table = table_of(make.image(1, Manufacturer="A"), make.image(2))
    assert by_file(table, "Manufacturer") == {"000.dcm": "A", "001.dcm": None}


def test_short_bytes_that_vary_are_kept():
    """Their columns have sizes and hashes alone; the header of each slice has its bytes."""
    sources = []
    for number in (1, 2):
        source = make.image(number)
        source.private_block(0x0019, "MAKER", create=True).add_new(0x08, "OB", bytes([number, 7]))
        sources.append(source)
    others = by_file(table_of(*sources), "OtherElements")
    for name, expected in (("000.dcm", "AQc="), ("001.dcm", "Agc=")):
        assert json.loads(others[name])["00191008"] == {"vr": "OB", "InlineBinary": expected}


def test_columns_of_one_name_are_told_apart():
    """Elements that share a name, as overlay planes do, are columns of their own."""
    sources = []
    for number in (1, 2):
        source = make.image(number)
        for group in (0x6000, 0x6002):
            make.add(source, group << 16 | 0x0010, "US", number + group)
            make.add(source, group << 16 | 0x3000, "OW", bytes([number, group & 0xFF]) * 2)
        for block in (0x10, 0x11):
            make.add(source, 0x00190000 | block, "LO", "SAME")
            make.add(source, 0x00190000 | block << 8 | 1, "US", number * block)
        sources.append(source)
    table = table_of(*sources)
    assert len(set(table.column_names)) == len(table.column_names)
    assert by_file(table, "OverlayRows") == {"000.dcm": 0x6001, "001.dcm": 0x6002}
    assert by_file(table, "OverlayRows_60020010") == {"000.dcm": 0x6003, "001.dcm": 0x6004}
    assert by_file(table, "0019,01:SAME") == {"000.dcm": ["16"], "001.dcm": ["32"]}
    assert by_file(table, "0019,01:SAME_00191101") == {"000.dcm": ["17"], "001.dcm": ["34"]}
    again = Index.from_parquet(Index(table).to_parquet())
    assert [record.elements for record in again.records()] == [
        record.elements for record in sorted(records_of(series(*sources)), key=lambda r: r.name, reverse=True)
    ]


def test_a_keyword_that_a_fixed_column_has_taken_is_told_apart():
    """An element whose keyword is a fixed column's name for something else does not take its place."""
    sources = [make.add(make.image(i), 0x0040A122, "TM", f"10111{i}") for i in (1, 2)]
    table = table_of(*sources)
    assert table.schema.field("Time").type == pa.float64()
    assert by_file(table, "Time_0040A122") == {"000.dcm": "101111", "001.dcm": "101112"}


def test_binary_values_are_sizes_and_hashes():
    """OB, OW and UN values stand as `{Keyword}_Size` and `{Keyword}_Hash`."""
    sources = [make.add(make.image(i), 0x00282000, "OB", bytes([i]) * 10) for i in (1, 2)]
    table = table_of(*sources, make.image(3))
    assert "ICCProfile" not in table.column_names
    assert table.schema.field("ICCProfile_Size").type == pa.int32()
    assert table.schema.field("ICCProfile_Hash").type == pa.utf8()
    assert by_file(table, "ICCProfile_Size") == {"000.dcm": 10, "001.dcm": 10, "002.dcm": None}
    hashes = by_file(table, "ICCProfile_Hash")
    assert len({hashes["000.dcm"], hashes["001.dcm"]}) == 2
    assert hashes["002.dcm"] is None


def test_sequences_are_json():
    """A varying sequence stands as DICOM JSON text."""
    sources = [
        make.image(i, ReferencedImageSequence=[make.dataset(ReferencedSOPInstanceUID=f"1.{i}")])
        for i in (1, 2)
    ]
    table = table_of(*sources)
    texts = by_file(table, "ReferencedImageSequence")
    assert json.loads(texts["000.dcm"]) == [{"00081155": {"vr": "UI", "Value": ["1.1"]}}]


def test_columns_say_what_they_are():
    """Each column's metadata carries tag, VR and a description."""
    table = table_of(make.image(1, KVP=120), make.image(2, KVP=140))
    assert metadata_of(table, "KVP") == {"tag": "0018,0060", "vr": "DS", "description": "KVP"}
    assert metadata_of(table, "Rows")["tag"] == "0028,0010"
    assert metadata_of(table, "PrimaryAxis")["tag"] == ""
    for field in table.schema:
        data = metadata_of(table, field.name)
        assert data.keys() == {"tag", "vr", "description"}
        assert bool(data["tag"]) == bool(data["vr"]), field.name
        assert data["description"], field.name


def test_the_file_says_where_it_came_from():
    """Schema and product version, fingerprint, limit and skipped objects with reasons are metadata."""
    provenance = Provenance(
        series="s",
        root="memory://x",
        fingerprint="abc",
        listed=4,
        limit=2,
        skipped=(Skipped("bad.dcm", "not DICOM: text", 5, "v1"),),
        notes=("a note",),
    )
    table = table_of(make.image(1), provenance=provenance)
    document = json.loads(table.schema.metadata[b"dicom_series_preview"])
    assert document["schema_version"] == SCHEMA_VERSION
    assert document["product_version"]
    assert document["fingerprint"] == "abc"
    assert (document["limit"], document["listed"]) == (2, 4)
    assert document["skipped"] == [
        {"name": "bad.dcm", "reason": "not DICOM: text", "size": 5, "version": "v1", "transient": False}
    ]
    assert document["notes"] == ["a note"]


def test_the_order_is_noted():
    """The file says that slices without a position come after the others."""
    table = table_of(make.image(1), make.image(2), make.image(3, ImagePositionPatient=None))
    assert "no position" in json.loads(table.schema.metadata[b"dicom_series_preview"])["notes"][0]
    assert cells(table, "FileName") == ["001.dcm", "000.dcm", "002.dcm"]


def rich():
    """A series with every sort of column."""
    sources = []
    for number in range(1, 6):
        source = make.image(
            number,
            KVP=100 + number,
            ImageType=["ORIGINAL", "PRIMARY", f"M{number}"],
            SeriesTime=f"10111{number}",
            ReferencedImageSequence=[make.dataset(ReferencedSOPInstanceUID=f"1.{number}")],
            StudyDescription="Schädel" if number % 2 else None,
        )
        source.private_block(0x0019, "MAKER", create=True).add_new(8, "FD", [number / 3, 1.0])
        make.add(source, 0x00282000, "OB", bytes(number))
        sources.append(source)
    return sources


def test_the_file_opens_everywhere_with_the_same_values(tmp_path):
    """The file opens in pyarrow, pandas, Polars and DuckDB, with the same rows and values."""
    path = write(table_of(*rich()), tmp_path)
    arrow = pq.read_table(path)
    with duckdb.connect() as connection:
        duck = connection.sql("FROM read_parquet(?)", params=[str(path)]).to_arrow_table()
    polars = pl.read_parquet(path).to_arrow()
    pandas = pd.read_parquet(path)
    assert arrow.num_rows == duck.num_rows == polars.num_rows == len(pandas) == 5
    assert arrow.column_names == duck.column_names == polars.column_names == list(pandas.columns)
    rows = arrow.to_pylist()
    assert duck.to_pylist() == rows
    assert polars.to_pylist() == rows
    for name in ("FileName", "KVP", "PrimaryPosition", "0019,08:MAKER", "ImageType"):
        got = [list(v) if isinstance(v, np.ndarray) else v for v in pandas[name]]
        assert got == [row[name] for row in rows]
    assert pq.read_metadata(path).row_group(0).column(0).compression == "ZSTD"


def test_duckdb_answers_questions_about_the_series(tmp_path):
    """The file is a table that SQL can ask about slices by column name."""
    path = write(table_of(*rich()), tmp_path)
    with duckdb.connect() as connection:
        found = connection.execute(
            'SELECT FileName FROM read_parquet(?) WHERE "0019,08:MAKER"[1]::DOUBLE > 1 ORDER BY "Index"',
            [str(path)],
        ).fetchall()
    assert found == [("004.dcm",), ("003.dcm",)]


def test_the_order_of_the_records_changes_nothing():
    """The index of a series is the same in whatever order its headers came."""
    records = records_of(series(*rich()))
    whole = build(records, PROVENANCE)
    shuffled = records.copy()
    random.Random(4).shuffle(shuffled)
    assert build(shuffled, PROVENANCE).to_pylist() == whole.to_pylist()


# --- what real files write


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00200013, "IS", "99999999999"),
        (0x00200013, "IS", "no number"),
        (0x00200032, "DS", ["1", "2"]),
        (0x00200032, "DS", ["1", "", "3"]),
        (0x00200037, "DS", ["1.#QNAN"] * 6),
        (0x00201041, "DS", "1e300"),
        (0x00080008, "UN", b"XX"),
        (0x00080032, "TM", "²³"),
        (0x00080032, "TM", "10:11:12.²"),
        (0x00280034, "IS", ["99999999999", "1"]),
        (0x00280030, "DS", ["0.5"]),
        (0x00281050, "DS", ["40", ""]),
        (0x00280120, "US", [1, 2]),
        (0x00280010, "UL", 4),
        (0x00186000, "IS", "9" * 300),
    ],
)
@pytest.mark.parametrize("count", [1, 2])
def test_odd_values_lose_no_row(tag, vr, value, count):
    """A value that its column cannot hold leaves the cell empty, and the header as it is."""
    objects = series(*(make.image(i) for i in range(count)))
    name = f"{count - 1:03}.dcm"
    source = make.image(count - 1)
    if isinstance(value, bytes):
        raw = value
    else:
        parts = value if isinstance(value, list) else [value]
        raw = (
            "\\".join(parts).encode("latin-1")
            if isinstance(parts[0], str)
            else np.array(parts, "<u4" if vr == "UL" else "<u2").tobytes()
        )
    if tag in source:
        del source[tag]
    data = make.encode(source)
    at = data.index(make.element(0x0020000E, "UI", make.SERIES_UID.encode())[:8])
    raw += b" " * (len(raw) % 2)
    objects[name] = data[:at] + make.element(tag, vr, raw) + data[at:]
    records = records_of(objects)
    index = index_of(objects)
    assert index.table.num_rows == count
    assert {r.name: r.elements for r in index.records()} == {
        r.name: dict(sorted(r.elements.items())) for r in records
    }


def test_what_no_column_gives_back_stands_once_an_object():
    """The text of what no column holds is not repeated with each frame."""
    groups = [make.position_group(0, 0, z) for z in range(4)]
    table = table_of(
        make.add(make.enhanced(groups), 0x00186000, "LO", "text"),
        make.add(make.enhanced(groups, SOPInstanceUID="1.9"), 0x00186000, "IS", 5),
    )
    assert table["OtherElements"].null_count >= 6


# --- real series
