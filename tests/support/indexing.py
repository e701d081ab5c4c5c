"""Objects -> records, indices and opened series, for tests of what is built on them."""

from collections.abc import Mapping
from pathlib import Path

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
