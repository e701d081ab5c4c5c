"""Objects -> records, indices and opened series, for tests of what is built on them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import make_dicom as make
from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.archive.index.build import build
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.index.records import Provenance, Record, Skipped
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.base.errors import ObjectError
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.sources.headers.convert import Converter
from dicom_series_preview.sources.headers.header import Header, parse
from dicom_series_preview.sources.headers.scan import Scan, scan
from dicom_series_preview.sources.storage.memory import MemoryStorage
from doubles import CountingStorage

PROVENANCE = Provenance(series="series", root="memory://objects", fingerprint="f" * 64, listed=1)


def header_of(data: bytes, converter: Converter | None = None) -> Header:
    """The header of a whole object."""
    header = parse(data, len(data), converter or Converter())
    assert isinstance(header, Header)
    return header


def records_of(objects: Mapping[str, bytes]) -> list[Record]:
    """A record of each object, in the given order."""
    converter = Converter()
    return [Record.of(name, f"v-{name}", header_of(data, converter)) for name, data in objects.items()]


def index_of(objects: Mapping[str, bytes], provenance: Provenance = PROVENANCE) -> Index:
    """The index of some objects, through a Parquet file."""
    return Index.from_parquet(Index(build(records_of(objects), provenance)).to_parquet())


def of_version(data: bytes, version: int) -> bytes:
    """An index as a version of the product with another schema would have written it."""
    table = Index.from_parquet(data).table
    metadata = dict(table.schema.metadata)
    document = json.loads(metadata[b"dicom_series_preview"])
    metadata[b"dicom_series_preview"] = json.dumps({**document, "schema_version": version}).encode()
    return Index(table.replace_schema_metadata(metadata)).to_parquet()


def readable_records(folder: Path) -> tuple[list[Record], list[Skipped]]:
    """Records of what is DICOM below a folder, and what is not."""
    converter = Converter()
    records, skipped = [], []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            try:
                records.append(Record.of(name, f"v-{name}", header_of(path.read_bytes(), converter)))
            except ObjectError as error:
                skipped.append(Skipped(name, error.reason))
    return records, skipped


def objects(count=4, folder="s"):
    """A series of some slices."""
    return {f"{folder}/{i}.dcm": make.encode(make.image(i)) for i in range(1, count + 1)}


class Setting:
    """A counted storage with a series, a cache, and an opener of both."""

    def __init__(self, held=None, *, cache=True, limits=None, wrap=lambda storage: storage, **options):
        self.memory = MemoryStorage(objects() if held is None else held, **options)
        self.storage = CountingStorage(wrap(self.memory))
        self.cache = CountingStorage(MemoryStorage(url="memory://cache"))
        self.opener = SeriesIndexer(
            self.storage, IndexCache(self.cache) if cache else None, limits or Limits()
        )

    def open(self, name="s", **options):
        """Open a series, counting from nothing."""
        self.storage.reset()
        self.cache.reset()
        return self.opener.open(SeriesName.parse(name), **options)

    def names(self):
        """The objects that were asked for, each once."""
        return sorted({r.path for r in self.storage.ranges})


def series(*sources, syntax=make.EXPLICIT):
    """Data sets as the objects of a series, named in order."""
    return {f"{i:03}.dcm": make.encode(source, syntax) for i, source in enumerate(sources)}


def table_of(*sources, provenance=PROVENANCE):
    """The table of some data sets."""
    return build(records_of(series(*sources)), provenance)


def cells(table, name):
    """A column's values by file name, or in order where files have several rows."""
    return table[name].to_pylist()


def by_file(table, name):
    """A column's values by file name."""
    return dict(zip(cells(table, "FileName"), cells(table, name), strict=True))


def metadata_of(table, name):
    """A column's metadata as text."""
    return {k.decode(): v.decode() for k, v in table.schema.field(name).metadata.items()}


def only(source, syntax=make.EXPLICIT):
    """The one slice of an object."""
    return index_of(series(source, syntax=syntax)).slices([0])[0]


def some_series():
    """A series with what columns find hard: mixed VRs, gaps, empty parts, private blocks, sequences."""
    sources = [
        make.image(1, KVP=120.1, StudyDescription="Schädel", ImageType=["A", "B"]),
        make.image(2, KVP=None, StudyDescription="", ImageType=["A"]),
        make.add(make.image(3), 0x00180060, "LO", "text"),
        make.add(make.image(4), 0x00080008, "CS", ["A", "", "C"]),
        make.image(5, ReferencedImageSequence=[make.dataset(ReferencedSOPInstanceUID="1.2")]),
        make.image(6, ReferencedImageSequence=[]),
        make.enhanced([make.position_group(0, 0, z) for z in (7, 8)], make.orientation_group()),
        make.report(9),
    ]
    make.add(sources[0], 0x00181063, "FD", [float("nan"), 1.0])
    sources[0].private_block(0x0019, "MAKER", create=True).add_new(1, "OB", bytes(4000))
    sources[1].private_block(0x0019, "MAKER", create=True).add_new(1, "UN", b"short!")
    sources[2].private_block(0x0019, "OTHER", create=True).add_new(1, "OB", b"short!")
    return sources


FOLDER = "series"


LIMIT = 2**20


LIMITS = Limits(header_bytes=LIMIT)


KIB = 1024


def padded(number, header_bytes, pixels=200_000, syntax=make.EXPLICIT):
    """An object whose header is about as long as told, by a private value, with pixels behind it."""
    source = make.image(number, PixelData=bytes(pixels))
    block = source.private_block(0x0029, "PADDING", create=True)
    block.add_new(0x10, "OB", bytes([number % 256]) * (header_bytes & ~1))
    return make.encode(source, syntax)


def memory(objects, **options):
    """The objects below the series' folder."""
    return MemoryStorage({f"{FOLDER}/{name}": data for name, data in objects.items()}, **options)


def elements_of(source, syntax=make.EXPLICIT, converter=None):
    """The elements of a data set that was written and read."""
    return header_of(make.encode(source, syntax), converter).elements


def value_of(tag: int, vr: str, raw: bytes, *before: bytes) -> Any:
    """The value of one element's bytes, behind what else its data set holds."""
    data = (
        make.preamble()
        + make.element(0x00080016, "UI", b"1.2\0")
        + b"".join(before)
        + make.element(tag, vr, raw)
    )
    return header_of(data).elements[tag].value


def complete(data: bytes, size: int | None) -> Scan:
    """The scan of what must be complete."""
    found = scan(data, size)
    assert isinstance(found, Scan)
    return found
