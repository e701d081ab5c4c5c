"""The local cache as a storage with a limited size."""

from __future__ import annotations

import json
import logging
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from dicom_series_preview.archive.cache_files import BLOCK_BYTES, PATHS, blocks_of, opened, set_used
from dicom_series_preview.base.errors import ObjectNotFoundError
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.sources.storage.local import LocalStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dicom_series_preview.sources.storage.base import Fetched

_LOGGER = logging.getLogger(__name__)
_SEAL = b"\0preview"
# Uncompressed pixels, with room for metadata.
_BYTES_A_PIXEL = 4
# Up to here, counting all files at each write takes less time than the write itself, and needs no ledger.
_FEW = 100
# Free a share of the room at once, so that many writes share one look at all files.
_SHARE_LEFT = 0.9


class CacheFolder(LocalStorage):
    """A cache folder of limited size: the least recently used files go first.

    We set a file's access time when it is used: its modification time is its version, which other processes
    compare before they write. With more than a few files, a write does not look at all of them: a ledger
    beside them holds a byte for each block written, and only when it says that the room is full, we count
    again. No link is followed out of the folder.

    Args:
        root: The folder's absolute path.
        concurrency: The most files to read at once.
        most_bytes: The room in bytes.
        clock: Nanoseconds since 1970.
        picture_pixels: The largest picture; larger files are not read as pictures.
    """

    _NO_WAY_OUT = "a link leads out of the cache folder"

    def __init__(
        self,
        root: Path,
        concurrency: int,
        most_bytes: int,
        clock: Callable[[], int] = time.time_ns,
        picture_pixels: int = Limits().output_pixels,
    ) -> None:
        super().__init__(root, concurrency, follow_links=False)
        self._folder = root
        self._most_bytes = most_bytes
        self._clock = clock
        self._picture_bytes = _BYTES_A_PIXEL * picture_pixels + BLOCK_BYTES

    def get(self, path: str) -> Fetched:
        """Read as `Storage.get`, and note the use; a file too large for a picture counts as missing."""
        if PATHS["picture"].fullmatch(path) and _size(self._path(path)) > self._picture_bytes:
            raise ObjectNotFoundError(path, "too large for a picture")
        fetched = super().get(path)
        # A read-only cache, or a file that is gone by now, notes no use.
        with suppress(OSError), opened(self._path(path)) as file:
            set_used(file, self._path(path), self._clock())
        return _unsealed(fetched)

    def put(
        self,
        path: str,
        data: bytes,
        *,
        if_version: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> str:
        """Write as `Storage.put`; make room if there is none."""
        self._check_inside(self._path(path).parent)
        data += _sealed(attributes or {})
        version = super().put(path, data, if_version=if_version)
        # Claims do not stay, and places of series are none of what is pruned.
        if not (PATHS["claim"].fullmatch(path) or PATHS["place"].fullmatch(path)):
            self._note_written(path, len(data))
        return version

    def _note_written(self, path: str, size: int) -> None:
        from dicom_series_preview.archive.pruning import LEDGER, Stays, note_blocks, prune  # noqa: PLC0415 - readers prune nothing

        try:
            written = note_blocks(self._folder, blocks_of(size))
            if written is not None and written * BLOCK_BYTES <= self._most_bytes:
                return
            rule = Stays(self._most_bytes, int(self._most_bytes * _SHARE_LEFT), spared=path)
            pruned = prune(self._folder, rule, self._clock())
            if written is None and pruned.left > _FEW:
                (self._folder / LEDGER).touch()
                note_blocks(self._folder, pruned.room // BLOCK_BYTES)
            if pruned.removed:
                _LOGGER.info("%d files of the cache that were used longest ago are gone", pruned.removed)
        except BlockingIOError:
            pass  # someone is making room already
        except OSError as error:
            # The file is written, as requested.
            _LOGGER.info("the cache's room cannot be looked after: %s", error.strerror)


def _sealed(attributes: Mapping[str, str]) -> bytes:
    """Return the bytes that follow an object in its file; none if its type is its only attribute."""
    kept = {name: value for name, value in attributes.items() if name != "Content-Type"}
    if not kept:
        return b""
    text = json.dumps(kept).encode()
    return text + len(text).to_bytes(4, "big") + _SEAL


def _unsealed(fetched: Fetched) -> Fetched:
    """Return an object without the bytes that follow it in its file."""
    end = len(fetched.data) - len(_SEAL) - 4
    if end < 0 or not fetched.data.endswith(_SEAL):
        return fetched
    start = end - int.from_bytes(fetched.data[end : end + 4], "big")
    try:
        attributes = json.loads(fetched.data[max(0, start) : end])
    except (ValueError, RecursionError):
        return fetched
    # Anyone can have written the file; `_sealed` writes nothing but text by name.
    if not isinstance(attributes, dict) or not all(isinstance(text, str) for text in attributes.values()):
        return fetched
    return replace(fetched, data=fetched.data[:start], attributes=attributes)


def _size(path: Path) -> int:
    """Return a file's bytes; 0 where it cannot be inspected: reading it reports why."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
