"""The local cache as a storage that does not outgrow its room."""

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
# Every pixel as it is, with room for what is not one.
_BYTES_A_PIXEL = 4
# So many files are counted at each write, without a ledger, in less time than the write itself takes.
_FEW = 100
# A share of the room is made free at once, so that all files are looked at once for many that are written.
_SHARE_LEFT = 0.9


class CacheFolder(LocalStorage):
    """A cache folder that does not outgrow its room: the files that were used longest ago go first.

    When a file was used is its access time, set by us: a file's modification time is its version, which other
    processes compare before they write. Where there are more than a few, files are not looked through when
    one is written: a ledger beside them holds a byte for each block that was, and only when that says that
    there is no more room they are counted anew. No link is followed out of the folder.

    Args:
        root: The folder's absolute path.
        concurrency: Files read at once.
        most_bytes: The room.
        clock: Nanoseconds since 1970.
        picture_pixels: The largest picture; a file that is larger than one can be is not read as one.
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
        """`Storage.get`, noted as a use of the file. One that is too large for a picture is none."""
        if PATHS["picture"].fullmatch(path) and _size(self._path(path)) > self._picture_bytes:
            raise ObjectNotFoundError(path, "too large for a picture")
        fetched = super().get(path)
        # A cache that we may not write, or a file that has gone meanwhile, has no use noted.
        with suppress(OSError), opened(self._path(path)) as file:
            set_used(file, self._path(path), self._clock())
        return _opened_up(fetched)

    def put(
        self,
        path: str,
        data: bytes,
        *,
        if_version: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> str:
        """`Storage.put`; where there is no more room, some is made."""
        self._check_inside(self._path(path).parent)
        data += _sealed(attributes or {})
        version = super().put(path, data, if_version=if_version)
        # Claims do not stay.
        if not PATHS["claim"].fullmatch(path):
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
            pass  # someone makes room already
        except OSError as error:
            # The file is there, and that is what was asked for.
            _LOGGER.info("the cache's room cannot be looked after: %s", error.strerror)


def _sealed(attributes: Mapping[str, str]) -> bytes:
    """The bytes that follow an object in its file; none where its type is its only attribute."""
    kept = {name: value for name, value in attributes.items() if name != "Content-Type"}
    if not kept:
        return b""
    text = json.dumps(kept).encode()
    return text + len(text).to_bytes(4, "big") + _SEAL


def _opened_up(fetched: Fetched) -> Fetched:
    """An object without what follows its bytes in its file."""
    end = len(fetched.data) - len(_SEAL) - 4
    if end < 0 or not fetched.data.endswith(_SEAL):
        return fetched
    start = end - int.from_bytes(fetched.data[end : end + 4], "big")
    try:
        attributes = json.loads(fetched.data[max(0, start) : end])
    except (ValueError, RecursionError):
        return fetched
    # Anyone may have written the file; `_sealed` writes text by name, and nothing else.
    if not isinstance(attributes, dict) or not all(isinstance(text, str) for text in attributes.values()):
        return fetched
    return replace(fetched, data=fetched.data[:start], attributes=attributes)


def _size(path: Path) -> int:
    """A file's bytes; 0 of what cannot be looked at, which says so when it is read."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
