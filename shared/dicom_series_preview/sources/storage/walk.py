"""A walk through a web server's folders, within limits: a server can invent pages without end."""

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
# So many folders without a single file are a reason to doubt.
_MANY_FOLDERS = 100


@dataclass(frozen=True, slots=True)
class Listed:
    """A server's listing of one folder.

    Attributes:
        entries: What is in it.
        length: Bytes of the answer.
        body_hash: The hash of those bytes.
    """

    entries: list[Entry]
    length: int
    body_hash: int

    @classmethod
    def of(cls, entries: list[Entry], body: bytes) -> Listed:
        """Build a listing from an answer's entries and bytes."""
        return cls(entries, len(body), hash(body))

    def is_like(self, other: Listed | None) -> bool:
        """Return True where two folders have the same answer, or two answers that list the same."""
        return other is not None and (self.body_hash == other.body_hash or self.shape == other.shape)

    @property
    def folders(self) -> frozenset[str]:
        """The names of its folders."""
        return frozenset(entry.path for entry in self.entries if entry.is_folder)

    @property
    def shape(self) -> tuple[bool, frozenset[str]]:
        """The names to compare listings by: the folders', or without any the files'."""
        folders = self.folders
        return bool(folders), folders or frozenset(entry.path for entry in self.entries)


class FolderWalk:
    """One walk, folder by folder.

    A server that answers every path with a page (a start page, a sign-in page, a single-page application)
    seems to have folders without end. A folder that cannot exist exposes it: when a listing looks suspicious,
    `questionable` says so, the caller requests such a folder, and `judge` compares. A real server has no page
    for that, though its folders can well hold the same names.

    Args:
        url: The URL of the first folder, for errors.
        folder: Its path.
        most_folders: The most folders below it.
        most_objects: The walk ends beyond this many objects; or None.

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
        """Yield the folders to request next, including those that `take` finds.

        The first two go one by one: the second shows whether the server invents its pages.
        """
        return _Next(self)

    def next(self) -> str | None:
        """Return the folder to request next; None where there is none now."""
        if not self._left or (self._answered < 2 and self._asked > self._answered):
            return None
        if self._most_objects is not None and len(self.found) > self._most_objects:
            return None
        self._asked += 1
        return self._left.popleft()

    def take(self, folder: str, listed: Listed | None) -> None:
        """Add a folder's listing; None where the folder does not exist.

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
        """Return the folder in which to request one that cannot exist; None without doubt."""
        return None if self._doubted is None else self._doubted[0].rpartition("/")[0]

    def judge(self, made_up: Listed | None) -> None:
        """Compare a suspicious listing with one of a folder that cannot exist.

        Args:
            made_up: The server's listing of that folder; None where it says that there is none.

        Raises:
            StorageError: The server invents its pages.
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
        """Doubt an empty listing, a repeated one, and many without a file; each reason once."""
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
    """An iterator that can go on after it has ended."""

    def __init__(self, walk: FolderWalk) -> None:
        self._walk = walk

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        folder = self._walk.next()
        if folder is None:
            raise StopIteration
        return folder
