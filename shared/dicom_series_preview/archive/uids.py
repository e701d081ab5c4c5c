"""The places of a SeriesInstanceUID: the series folders below a root that hold instances of it.

An object for each stands beside the indices, below `uids/{digest of the root}/{UID}/`, so that one listing
finds a series however its archive is laid out. Its name is the folder's, escaped for every disk and key; it
holds the folder's name, so that no listing takes it for the marker of a folder.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import LimitError, ObjectNotFoundError, SeriesNameError
from dicom_series_preview.sources.storage.base import is_path

if TYPE_CHECKING:
    from dicom_series_preview.sources.storage.base import Storage
    from dicom_series_preview.sources.storage.deadline import Deadline

# PS3.5 9.1 says where dots may stand; files do not always keep to that.
_UID = re.compile(r"(?=.{1,64}\Z)\.*[0-9][0-9.]*")
MOST_FOLDERS = 256
"""The most folders of one SeriesInstanceUID: each costs a listing."""

# Neither disks that ignore case nor S3 nor Windows change such a character.
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789._-")
_ESCAPED = re.compile("=([0-9a-f]{2})")
# Names that are temporary files' or Windows' devices', and a dot that Windows drops.
_SPECIAL = re.compile(r"\.|(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|\Z)")
# A disk's name has at most 255 bytes. A longer one is a digest.
_LONGEST = 200
_DIGEST = "~"


def is_uid(text: str) -> bool:
    """Return True where a text can be a UID: 1 to 64 digits and dots."""
    return _UID.fullmatch(text) is not None


def places_folder(root: str) -> str:
    """Return the folder, below a place for caches, for the places of one root and no other.

    Args:
        root: `Storage.identity` of the root.
    """
    return f"uids/{hashlib.sha256(root.encode(errors='surrogateescape')).hexdigest()[:32]}"


def place_name(series: str) -> str:
    """Return the name of a folder's object: the folder's, escaped, or a digest of one that is too long."""
    data = series.encode(errors="surrogatepass")
    name = "".join(chr(byte) if byte in _PLAIN else f"={byte:02x}" for byte in data)
    if _SPECIAL.match(name):
        name = f"={ord(name[0]):02x}{name[1:]}"
    if name.endswith("."):
        name = f"{name[:-1]}=2e"
    return name if len(name) <= _LONGEST else f"{_DIGEST}{hashlib.sha256(data).hexdigest()}"


def _series_of(name: str) -> str | None:
    """Return the folder whose object has a name; None where no folder's has."""
    try:
        series = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), name).encode("latin-1").decode()
    except UnicodeError:
        return None
    return series if is_path(series) and place_name(series) == name else None


@dataclass(frozen=True, slots=True)
class SeriesPlaces:
    """The places of the SeriesInstanceUIDs below one root.

    Attributes:
        storage: Stores them.
        folder: The folder there with this root's places and no others; see `places_folder`.
        optional: Where they cannot be read, there are none.
    """

    storage: Storage
    folder: str
    optional: bool = False

    def within(self, deadline: Deadline) -> SeriesPlaces:
        """Return the places for one request; see `Storage.within`."""
        return replace(self, storage=self.storage.within(deadline))

    def folders(self, uid: str) -> list[str]:
        """List the folders that hold instances of a SeriesInstanceUID, sorted; none for what is no UID.

        It takes one listing, and a request for each folder with a very long name.

        Raises:
            LimitError: There are more than `MOST_FOLDERS`.
            StorageError: The places cannot be listed.
        """
        if not is_uid(uid):
            return []
        below, listed = f"{self.folder}/{uid}", []
        with suppress(ObjectNotFoundError):  # nothing is kept anywhere
            listed = self.storage.list_objects(below, MOST_FOLDERS)
        if len(listed) > MOST_FOLDERS:
            raise LimitError("series", f"{uid} lies in more than {MOST_FOLDERS} folders, the limit")
        found = (self._folder_of(info.path, info.path.removeprefix(f"{below}/")) for info in listed)
        return sorted({series for series in found if series is not None})

    def _folder_of(self, path: str, name: str) -> str | None:
        """Return the folder that an object stands for; None if it is gone, or not ours."""
        if not name.startswith(_DIGEST):
            return _series_of(name)
        with suppress(ObjectNotFoundError, UnicodeError):
            series = self.storage.get(path).data.decode(errors="surrogatepass")
            return series if is_path(series) and place_name(series) == name else None
        return None

    def has_any(self) -> bool:
        """Return True where a place is noted of any SeriesInstanceUID below the root.

        Raises:
            StorageError: The places cannot be listed.
        """
        with suppress(ObjectNotFoundError):
            return bool(self.storage.list_objects(self.folder, 0))
        return False

    def matching(self, prefix: str) -> list[str]:
        """List the SeriesInstanceUIDs that begin with a prefix and have a place, sorted.

        Raises:
            StorageError: The places cannot be listed.
        """
        if not is_uid(prefix):
            return []
        start, listed = f"{self.folder}/", []
        with suppress(ObjectNotFoundError):
            listed = self.storage.list_folders(f"{start}{prefix}")
        return [uid for folder in listed if is_uid(uid := folder.removeprefix(start))]

    def is_empty(self) -> bool:
        """Return True where nothing is noted.

        Raises:
            StorageError: The places cannot be listed.
        """
        with suppress(ObjectNotFoundError):
            return not self.storage.list_objects(self.folder, 1)
        return True

    def add(self, uid: str, series: str) -> None:
        """Note that a folder holds instances of a SeriesInstanceUID; once is enough.

        Args:
            uid: The SeriesInstanceUID.
            series: The folder below the root.

        Raises:
            SeriesNameError: The text is no UID, or the root itself is meant: `is_uid` tells before.
            StorageError: The place cannot be written.
        """
        self.storage.put(self._path(uid, series), series.encode(errors="surrogatepass"))

    def remove(self, uid: str, series: str) -> None:
        """Note that a folder holds no instance of a SeriesInstanceUID any more.

        Raises:
            SeriesNameError: See `add`.
            StorageError: The place cannot be removed.
        """
        self.storage.delete(self._path(uid, series))

    def _path(self, uid: str, series: str) -> str:
        if not is_uid(uid):
            # The value is not told: anything can stand there.
            raise SeriesNameError("a SeriesInstanceUID has 1 to 64 digits and dots; this one has no place")
        if not is_path(series):
            raise SeriesNameError("a series is a folder below the root; the root itself has no place")
        return f"{self.folder}/{uid}/{place_name(series)}"
