"""An index that others have written into: what no slice has is built anew, and nothing else fails for it."""

import io
import json
import math
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import synthetic
from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.index.metadata import CONSTANTS_KEY, PROVENANCE_KEY
from dicom_series_preview.archive.index.schema import FIXED_COLUMNS, OTHER_ELEMENTS, Column
from dicom_series_preview.base.errors import PreviewError
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.products.pictures.requests import ImageRequest, IndexRequest, MosaicRequest
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.sources.storage.memory import MemoryStorage

OBJECTS = synthetic.series("tampered", 4, others=False).objects
MOSAIC = MosaicRequest.from_strings("s", "a.webp", {"tile_width": ["2"], "image_width": ["64"]})
# By Arrow type, what may stand in a cell and makes no sense.
SENSELESS: dict[pa.DataType, tuple[Any, ...]] = {
    pa.uint32(): (0, 2**32 - 1, None),
    pa.int32(): (-1, -(2**31), 2**31 - 1, 0, None),
    pa.int64(): (-1, -(2**63), 2**62, 2**63 - 1, 0, None),
    pa.float32(): (math.nan, math.inf, None),
    pa.float64(): (math.nan, math.inf, -math.inf, 1e308, None),
    pa.utf8(): ("", "../outside/x", "/etc/passwd", "x" * 5000, "\0", "[1]", '[{"1": 2}]', "[" * 3000, None),
    pa.list_(pa.float64()): ([], [math.nan] * 3, [1.0] * 1000, [None] * 6, None),
    pa.list_(pa.int32()): ([], [0, 0], [1] * 1000, None),
    pa.list_(pa.utf8()): ([], [None], [""] * 100, None),
}
# What no slice has: it is seen, and the index is built anew.
SEEN: dict[str, tuple[Any, ...]] = {
    "FileName": ("", None, "../outside/x", "/etc/passwd", "a/./b", "a//b", ".", "a\0b", "nothing there"),
    "TransferSyntaxUID": ("", None),
    "FrameNumber": (0, -1, None),
    "Stack": (-1, None),
    "PrimaryAxis": ("", "W", None),
    "PixelKeyword": ("", "OtherPixelData", None),
    "Rows": (0, -1, None),
    "Columns": (0, -1, None),
    "ObjectSize": (-1, None),
    "FrameOffset": (-1, None),
    "FrameLength": (-1, None),
    "ImageOrientationPatient": ([1.0] * 7,),
    "VOILUTSequence": ("x", "[1]", "[" * 3000),
    "ModalityLUTSequence": ("x",),
    "AnatomicRegionSequence": ("{",),
    "Palette": ("x", "[]"),
}

NUMBERS = ("listed", "limit", "series_instance_uids", "patient_ids")
ODD: tuple[dict[str, object], ...] = ({"name": 1}, {"size": "1"}, {"transient": 1}, {"version": None})


class Tampered:
    """A series whose index is kept, and can be written into."""

    def __init__(self) -> None:
        self.cache = IndexCache(MemoryStorage())
        self.service = PreviewService(
            MemoryStorage({f"s/{name}": data for name, data in OBJECTS.items()}), self.cache, Limits()
        )
        self.picture = self.service.render(MOSAIC).data
        self.path = self.cache.path("s")
        self.table = Index.from_parquet(self.cache.storage.get(self.path).data).table

    def keep(self, table: pa.Table) -> None:
        """Put an index in the place of the one that is kept."""
        metadata = {key: value for key, value in table.schema.metadata.items() if b"own_columns" not in key}
        sink = io.BytesIO()
        pq.write_table(table.replace_schema_metadata(metadata), sink)
        self.cache.storage.put(self.path, sink.getvalue())

    def keep_metadata(self, metadata: dict[bytes, bytes | str]) -> None:
        """Put the index in its own place, with other metadata."""
        self.keep(self.table.replace_schema_metadata(metadata))

    def with_cells(self, name: str, value: object, rows: int | None = None) -> pa.Table:
        """The index with other cells in its first rows, or in all of them."""
        at = self.table.schema.get_field_index(name)
        field = self.table.schema.field(at)
        values = self.table[name].to_pylist()
        count = len(values) if rows is None else rows
        cells = pa.array([value] * count + values[count:], field.type)
        return self.table.set_column(at, field, cells)


@pytest.fixture(scope="module")
def tampered() -> Tampered:
    """A series of four slices."""
    return Tampered()


@pytest.mark.parametrize("rows", [1, None])
@pytest.mark.parametrize(("name", "value"), [(name, value) for name in SEEN for value in SEEN[name]])
def test_what_no_slice_has_is_built_anew(
    tampered: Tampered, name: str, value: object, rows: int | None
) -> None:
    """A row that no index has had when it was written is found before it is shown; the picture is right."""
    tampered.keep(tampered.with_cells(name, value, rows))
    rendered = tampered.service.render(MOSAIC)
    assert rendered.data == tampered.picture
    assert rendered.report.index_source == "built"
    assert tampered.service.render(MOSAIC).report.index_source == "cache"


@pytest.mark.parametrize("column", FIXED_COLUMNS, ids=lambda column: column.name)
def test_whatever_a_cell_holds(tampered: Tampered, column: Column) -> None:
    """No cell of any column, of one row or all, does worse than an error of the product's."""
    for value in SENSELESS[column.type]:
        for rows in (1, None):
            tampered.keep(tampered.with_cells(column.name, value, rows))
            with suppress(PreviewError):
                assert tampered.service.render(MOSAIC).data
                tampered.service.render(ImageRequest.from_strings("s", "a.webp", {"position": ["0.5"]}))


@pytest.mark.parametrize("column", FIXED_COLUMNS, ids=lambda column: column.name)
def test_whatever_a_cell_holds_of_one_series(tampered: Tampered, column: Column) -> None:
    """One series of a folder whose index was tampered with is shown, or an error of the product's."""
    (uid,) = set(tampered.table["SeriesInstanceUID"].to_pylist())
    mosaic = MosaicRequest.from_strings("s", "a.webp", {"series_uid": [uid]})
    for value in SENSELESS[column.type]:
        # Another series in a row, so that the index is made of the other rows.
        tampered.keep(tampered.with_cells(column.name, value, 1))
        with suppress(PreviewError):
            assert tampered.service.render(mosaic).data
        cells = tampered.with_cells(column.name, value)
        at = cells.schema.get_field_index("SeriesInstanceUID")
        if column.name != "SeriesInstanceUID":
            others = pa.array(["1.9", *[uid] * (cells.num_rows - 1)])
            tampered.keep(cells.set_column(at, cells.schema.field(at), others))
            with suppress(PreviewError):
                assert tampered.service.render(mosaic).data


def test_one_series_does_not_build_on_damage() -> None:
    """One series of a folder whose index cannot give its headers back is read anew, and shown."""
    tampered = Tampered()
    objects = tampered.service.storage
    (uid,) = set(tampered.table["SeriesInstanceUID"].to_pylist())
    name = tampered.table["FileName"][0].as_py()
    other = objects.get(f"s/{name}").data.replace(uid.encode(), b"9" + uid.encode()[1:])
    objects.put("s/other", other)
    table = tampered.service.index(IndexRequest.from_strings("s", {})).index.table
    column = pa.array(["{"] * table.num_rows)
    tampered.keep(table.append_column(OTHER_ELEMENTS.field(), column))
    options = {"series_uid": [uid], "tile_width": ["2"], "image_width": ["64"]}
    rendered = tampered.service.render(MosaicRequest.from_strings("s", "a.webp", options))
    assert (rendered.data, rendered.report.headers_read) == (tampered.picture, len(OBJECTS) + 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in NUMBERS for value in ("1\r\nX-Evil: 1", [1], True, 1.5, -1, 10**400)),
        *((name, value) for name in ("notes", "warnings") for value in ([1], [None], ["\ud800"], 5)),
        *(("skipped", [{"name": "a", "reason": "b", **odd}]) for odd in ODD),
        *((name, value) for name in ("series", "root", "fingerprint") for value in (1, None, "\ud800")),
        ("duplicates", [{"name": "a", "of": 1, "version": "b"}]),
    ],
)
def test_what_it_says_of_itself(tampered: Tampered, name: str, value: object) -> None:
    """Texts and numbers of other types than an index writes are found, and it is built anew."""
    metadata = tampered.table.schema.metadata
    document = {**json.loads(metadata[PROVENANCE_KEY]), name: value}
    tampered.keep_metadata({**metadata, PROVENANCE_KEY: json.dumps(document)})
    rendered = tampered.service.render(MOSAIC)
    assert (rendered.data, rendered.report.index_source) == (tampered.picture, "built")


@pytest.mark.parametrize("key", [PROVENANCE_KEY, CONSTANTS_KEY])
@pytest.mark.parametrize("text", [b"[" * 200_000, b"9" * 5000, b"\xff", b"[1]", b"null"])
def test_metadata_that_are_none(tampered: Tampered, key: bytes, text: bytes) -> None:
    """Metadata that cannot be read, however deep they are, are damage."""
    tampered.keep_metadata({**tampered.table.schema.metadata, key: text})
    rendered = tampered.service.render(MOSAIC)
    assert (rendered.data, rendered.report.index_source) == (tampered.picture, "built")


@pytest.mark.parametrize("name", ["Stack", "FileName", "Rows", "PrimaryPosition", "OtherElements"])
def test_a_column_of_another_type(tampered: Tampered, name: str) -> None:
    """A column by the name of one of the index's, and of another type, is not taken for it."""
    table = tampered.table.drop_columns([name]) if name in tampered.table.column_names else tampered.table
    tampered.keep(table.append_column(name, pa.array([True] * table.num_rows)))
    rendered = tampered.service.render(MOSAIC)
    assert (rendered.data, rendered.report.index_source) == (tampered.picture, "built")


def test_an_update_does_not_build_on_damage() -> None:
    """Where an index that objects were added to cannot give its headers back, all are read anew."""
    tampered = Tampered()
    name = tampered.table["FileName"][0].as_py()
    column = pa.array(["{", *[None] * (tampered.table.num_rows - 1)])
    tampered.keep(tampered.table.append_column(OTHER_ELEMENTS.field(), column))
    objects = tampered.service.storage
    objects.put("s/added", objects.get(f"s/{name}").data)
    report = tampered.service.render(MOSAIC).report
    assert (report.headers_read, len(report.duplicates)) == (len(OBJECTS) + 1, 1)
