"""The host of batches, which runs them and provides storages and mosaics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dicom_series_preview.sources.storage.base import Storage


@dataclass(frozen=True, slots=True)
class Mosaic:
    """The mosaic of one series, and its cost.

    Attributes:
        root: The URL of the series' root.
        folders: The folders below it that the series lies in.
        series_uid: The one SeriesInstanceUID that it is of what they hold; empty where it is all.
        data: The encoded picture.
        media_type: Its media type.
        slices: The number of the series' slices.
        skipped: The number of objects that no picture shows.
        index_source: The source of its index.
        requests: Requests made.
        bytes: Bytes of objects received.
    """

    root: str
    folders: tuple[str, ...]
    series_uid: str
    data: bytes
    media_type: str
    slices: int
    skipped: int
    index_source: str
    requests: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Indexed:
    """The index of one series, and its cost.

    Attributes:
        slices: The number of the series' slices.
        skipped: The number of objects that are not in it.
        index_source: Its source.
        requests: Requests made.
        bytes: Bytes of objects received.
    """

    slices: int
    skipped: int
    index_source: str
    requests: int
    bytes: int


class Mosaics(Protocol):
    """Makes the mosaics of a batch, or only the indices."""

    def check(self, options: Mapping[str, Sequence[str]]) -> None:
        """Check the options of mosaics.

        Args:
            options: By name, as in the HTTP API.

        Raises:
            RequestError: An option is wrong.
        """

    def make(self, item: Item, seconds: float) -> Mosaic:
        """Index a series if it has no index, and make its mosaic.

        Args:
            item: The series.
            seconds: The time limit.

        Raises:
            PreviewError: The mosaic cannot be made.
        """

    def index(self, item: Item, seconds: float) -> Indexed:
        """Bring a series' index up to date, and let the catalogue hear of it, whether or not it was.

        Args:
            item: The series.
            seconds: The time limit.

        Raises:
            PreviewError: The series has no index.
        """


@dataclass(frozen=True, slots=True)
class VolumeMade:
    """What became of one volume of a series, or of a part that is none.

    Attributes:
        status: `made`, `exists` (the same was there), `refused` or `failed`.
        part: Which part of the series it is.
        output: Its path below the data storage; empty without one.
        code: The kind of reason for which there is none; empty where there is one.
        problem: That reason in one line.
        output_bytes: What it holds.
        sha256: The digest of its canonical array; empty without one.
    """

    status: str
    part: str
    output: str = ""
    code: str = ""
    problem: str = ""
    output_bytes: int = 0
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Converted:
    """The volumes of one series, and their cost.

    Attributes:
        volumes: Its volumes and the parts that are none.
        slices: The number of the series' slices.
        skipped: The number of objects that could not be read.
        index_source: The source of its index.
        requests: Requests made to read it.
        bytes: Bytes of objects received.
    """

    volumes: tuple[VolumeMade, ...]
    slices: int
    skipped: int
    index_source: str
    requests: int
    bytes: int


class Volumes(Protocol):
    """Converts the series of a batch into volumes."""

    @property
    def options(self) -> frozenset[str]:
        """The names of its options, which are fields of a batch."""

    def check(self, options: Mapping[str, Sequence[str]]) -> None:
        """Check the options of volumes.

        Args:
            options: By name, as in the HTTP API.

        Raises:
            RequestError: An option is wrong.
        """

    def files(self, output: str) -> list[str]:
        """Return the paths of an output's files below the data storage; none where it is not there.

        Args:
            output: Its path below the data storage, or empty.
        """

    def make(self, item: VolumeItem, seconds: float) -> Converted:
        """Index a series if it has no index, and convert its volumes.

        Args:
            item: The series.
            seconds: The time limit.

        Raises:
            PreviewError: The series cannot be read, for now or at all.
        """


@dataclass(frozen=True, slots=True)
class VolumeItem:
    """One series of a batch that converts.

    Attributes:
        root: The alias of its root.
        series: Its name below the root.
        options: Options of its volumes, as in the HTTP API.
    """

    root: str
    series: str
    options: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Item:
    """One series of a batch.

    Attributes:
        root: The alias of its root.
        series: Its name below the root.
        mosaic: Options of its mosaic, as in the HTTP API.
    """

    root: str
    series: str
    mosaic: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class BatchHost:
    """The deployment, or a test, that runs batches.

    Attributes:
        roots: By alias, the URL of a storage root.
        data_url: The URL below which batches and mosaics are stored.
        open: Opens a storage by its URL, once.
        mosaics: Makes the mosaics.
        volumes: Makes the volumes.
        series_depth: The depth of series below a root, in folders.
        most_series: The most series of one batch.
        manifest_hint: Advice for the error where a manifest must not be read.
    """

    roots: Mapping[str, str]
    data_url: str
    open: Callable[[str], Storage]
    mosaics: Mosaics
    volumes: Volumes
    series_depth: int
    most_series: int
    manifest_hint: str

    @property
    def data(self) -> Storage:
        """The storage of batches and mosaics."""
        return self.open(self.data_url)
