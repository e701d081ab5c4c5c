"""Series names on this machine, where a relative path or a DICOM file is a name, too.

Callers of the HTTP API cannot use these: their series lie below the deployment's roots.
"""

from __future__ import annotations

import os
import unicodedata
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.base.errors import PreviewError
from dicom_series_preview.base.settings import DEFAULT_ROOT, absolute
from dicom_series_preview.sources.storage.disk import listed_name
from dicom_series_preview.sources.storage.one_file import OneFile
from dicom_series_preview.sources.storage.open import open_storage
from dicom_series_preview.sources.storage.roots import is_full_name, parse_root
from dicom_series_preview.sources.storage.throttle import CONCURRENCY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dicom_series_preview.base.settings import Settings
    from dicom_series_preview.sources.storage.base import Storage


@dataclass(frozen=True, slots=True)
class Named:
    """A series name as typed, resolved among the files of this machine.

    Attributes:
        text: The name for `SeriesName.parse`; a path is absolute.
        root: The series' root.
        file: The one file that it names, or None.
        hint: A suggestion in case of a mistake, or empty.
    """

    text: str
    root: str
    file: Path | None = None
    hint: str = ""

    @property
    def name(self) -> SeriesName:
        """The name, parsed."""
        return SeriesName.parse(self.text)

    def open(self, settings: Settings, environment: Mapping[str, str]) -> Storage:
        """Open its root.

        Raises:
            PreviewError: The root is invalid.
        """
        if self.file is not None:
            return OneFile(self.file, settings.concurrency or CONCURRENCY)
        return open_storage(self.root, settings, environment)

    @contextmanager
    def hinting(self) -> Iterator[None]:
        """Add the hint to an error from inside."""
        try:
            yield
        except PreviewError as error:
            if self.hint:
                error.add_note(self.hint)
            raise


def find(text: str, root: str | None, environment: Mapping[str, str]) -> Named:
    """Resolve a series name on this machine.

    `./x`, `x/`, `.` and absolute paths are paths. Without a root, so is a name with a part `..`, of an
    existing file, or whose first part is a folder here: a mistyped local name then stays on this machine.
    Every other name lies below the root, and `..` is a part of none.

    Args:
        text: The name as typed.
        root: The root as typed, or None.
        environment: Gives the home folder.

    Raises:
        SeriesNameError: The text cannot name a series.
        OutputError: The working folder is gone.
    """
    text = _as_path(text, root) or text
    if text.startswith(("/", "~/")):
        text = text.rstrip("/") or "/"
        if "*" in text and os.path.exists(text):  # noqa: PTH110 - Path.exists raises where the name is too long
            text = Path(text).as_uri()  # there, an escaped * is no prefix
    head, slash, tail = text.rpartition("/") if is_full_name(text) else ("", "", text)
    # Storages list, and read, names that are not UTF-8 like this.
    text = f"{head}{slash}{listed_name(tail)}"
    name = SeriesName.parse(text)
    below = name.root or (DEFAULT_ROOT if root is None else root)
    hint = ""
    if root is None and name.root is None and _is_there(text):
        hint = f"a folder {text} lies here: ./{text} names it"
    return Named(text, below, _file(name, tail, environment), hint)


def _as_path(text: str, root: str | None) -> str | None:
    """Return the absolute path of a name that is a path, else None."""
    parts = text.replace("\\", "/").split("/") if os.name == "nt" else text.split("/")
    goes_up = ".." in parts
    if not text or (is_full_name(text) and not (goes_up and root is None and text.startswith("/"))):
        return None
    marked = root is None if goes_up else parts[0] == "." or parts[-1] == ""
    if not marked and root is None:
        # os.path's functions do not raise where the name is too long.
        marked = os.path.isfile(text) or (len(parts) > 1 and _lies_here(parts[0]))  # noqa: PTH113
    return str(absolute(text)) if marked else None


def _lies_here(name: str) -> bool:
    """Return True where the working folder holds a folder of this name, in either Unicode form."""
    if _is_there(name):
        return True
    composed = unicodedata.normalize("NFC", name)
    with suppress(OSError):  # the working folder is gone, or closed
        return not name.isascii() and composed in {
            unicodedata.normalize("NFC", path.name) for path in Path().iterdir()
        }
    return False


def _file(name: SeriesName, tail: str, environment: Mapping[str, str]) -> Path | None:
    """Return the file that a path or file:// URL names, or None."""
    if name.root is None or name.is_prefix:
        return None
    root = parse_root(name.root, environment)
    if root.kind != "local":
        return None
    # A URL's name has been unescaped; a path's is as the file system has it.
    file = Path(root.place) / (name.text if "://" in name.root else tail)
    return file if os.path.isfile(file) else None  # noqa: PTH113 - raises where the name is too long


def _is_there(name: str) -> bool:
    # Path.is_dir raises where the name is too long.
    return os.path.isdir(name)  # noqa: PTH112
