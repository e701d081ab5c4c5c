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
        series_depth: The depth of series below a root, in folders.
        most_series: The most series of one batch.
        manifest_hint: Advice for the error where a manifest must not be read.
    """

    roots: Mapping[str, str]
    data_url: str
    open: Callable[[str], Storage]
    mosaics: Mosaics
    series_depth: int
    most_series: int
    manifest_hint: str

    @property
    def data(self) -> Storage:
        """The storage of batches and mosaics."""
        return self.open(self.data_url)
