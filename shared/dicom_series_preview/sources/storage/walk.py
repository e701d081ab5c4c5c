"""A walk through the folders of a web server, under bounds: a server may have pages without end."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import LimitError, StorageError, counted
from dicom_series_preview.sources.storage.base import ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicom_series_preview.sources.storage.pages import Entry

NO_LISTING = "no directory listing is to be had here; check the address, and whether one has to sign in"
SAME_PAGE = f"the server answers every path with the same page: {NO_LISTING}"

_MAX_DEPTH = 16
_MAX_BYTES = 512 * 2**20
# So many folders, and not one file in them, are a reason to doubt.
_MANY_FOLDERS = 100


@dataclass(frozen=True, slots=True)
class Listed:
    """A server's listing of one folder.

    Attributes:
        entries: What is in it.
        length: Of the answer in bytes.
        body_hash: Of those bytes.
    """

    entries: list[Entry]
    length: int
    body_hash: int

    @classmethod
    def of(cls, entries: list[Entry], body: bytes) -> Listed:
        """Build it from an answer's entries and bytes."""
        return cls(entries, len(body), hash(body))

    def is_like(self, other: Listed | None) -> bool:
        """True where two folders have one answer, or two that list the same."""
        return other is not None and (self.body_hash == other.body_hash or self.shape == other.shape)

    @property
    def folders(self) -> frozenset[str]:
        """The names of the folders in it."""
        return frozenset(entry.path for entry in self.entries if entry.is_folder)

    @property
    def shape(self) -> tuple[bool, frozenset[str]]:
        """The names that make it like another: its folders', or where there are none its files'."""
        folders = self.folders
        return bool(folders), folders or frozenset(entry.path for entry in self.entries)


class FolderWalk:
    """One walk, folder by folder.

    A server that answers every path with a page (its start page, one to sign in, a single-page application)
    seems to have folders without end. It is told by the folder that nobody can have made: whoever walks is
    told when a listing looks like one of such a server, asks for such a folder, and lets `judge` compare. A
    real server has no page for that, though its folders may well hold the same names.

    Args:
        url: The URL of the folder that the walk begins at, for errors.
        folder: Its path.
        most_folders: How many folders there may be below it.
        most_objects: Where there are more objects than this, the walk ends; or None.

    Attributes:
        found: By path, the objects found so far.
    """

    def __init__(self, url: str, folder: str, most_folders: int, most_objects: int | None) -> None:
        self.found: dict[str, ObjectInfo] = {}
        self._url = url
        self._most_folders = most_folders
        self._most_objects = most_objects
        self._left = deque([folder])
        self._begin = folder
        self._known = {folder}
        self._asked = self._answered = self._bytes = 0
        self._seen: set[frozenset[str]] = set()
        self._doubted: tuple[str, Listed] | None = None
        self._reasons = {"empty", "again", "many"}

    def folders(self) -> Iterator[str]:
        """The folders to ask for next; those that `take` finds follow.

        The first two are asked for one by one: the second tells whether the server makes its pages up.
        """
        return _Next(self)

    def next(self) -> str | None:
        """The folder to ask for next; None where there is none as of now."""
        if not self._left or (self._answered < 2 and self._asked > self._answered):
            return None
        if self._most_objects is not None and len(self.found) > self._most_objects:
            return None
        self._asked += 1
        return self._left.popleft()

    def take(self, folder: str, listed: Listed | None) -> None:
        """Take in what a folder holds; None where it is not there.

        Raises:
            StorageError: Folders lie too deep, or listings are too long.
            LimitError: There are too many folders.
        """
        self._answered += 1
        if listed is None:
            return
        self._bytes += listed.length
        if self._bytes > _MAX_BYTES:
            raise StorageError(self._url, f"the folders' listings have more than {_MAX_BYTES} bytes")
        for entry in listed.entries:
            path = f"{folder}/{entry.path}" if folder else entry.path
            if not entry.is_folder:
                self.found[path] = ObjectInfo(path, entry.size, entry.version)
            elif path not in self._known:
                self._add(path)
        self._doubt(folder, listed)

    def questionable(self) -> str | None:
        """The folder in which to ask for one that nobody can have made; None where there is no doubt."""
        return None if self._doubted is None else self._doubted[0].rpartition("/")[0]

    def judge(self, made_up: Listed | None) -> None:
        """Compare a listing that looks made up with that of a folder that nobody can have made.

        Args:
            made_up: What the server says of that one; None where it says that there is none.

        Raises:
            StorageError: The server makes its pages up.
        """
        doubted, self._doubted = self._doubted, None
        if doubted is None or made_up is None:
            return
        if (self._is_fruitless and made_up.folders) or doubted[1].is_like(made_up):
            raise StorageError(self._url, SAME_PAGE)

    def _add(self, path: str) -> None:
        if len(path.removeprefix(self._begin).strip("/").split("/")) >= _MAX_DEPTH:
            raise StorageError(self._url, f"folders lie more than {_MAX_DEPTH} deep, or in a circle")
        if len(self._known) > self._most_folders:
            name, limit = self._begin or "the root", counted(self._most_folders, "folder")
            raise LimitError("series", f"{name} has more than {limit} below it, the limit")
        self._known.add(path)
        self._left.append(path)

    def _doubt(self, folder: str, listed: Listed) -> None:
        """Doubt a listing of nothing, one that came before, and many without a file; each reason once."""
        folders, reason = listed.folders, ""
        if not listed.entries and folder == self._begin:
            reason = "empty"
        elif folders and folders in self._seen:
            reason = "again"
        elif self._is_fruitless:
            reason = "many"
        self._seen.add(folders)
        if reason in self._reasons:
            self._reasons.remove(reason)
            self._doubted = folder, listed

    @property
    def _is_fruitless(self) -> bool:
        return self._answered >= _MANY_FOLDERS and not self.found


class _Next:
    """An iterator that may go on after it has ended."""

    def __init__(self, walk: FolderWalk) -> None:
        self._walk = walk

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        folder = self._walk.next()
        if folder is None:
            raise StopIteration
        return folder
