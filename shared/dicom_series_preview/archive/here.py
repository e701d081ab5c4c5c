"""What a user of this machine calls a series: also a relative path, or one DICOM file.

Callers of the HTTP API cannot: their series lie below the deployment's roots.
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
    """A series as it was typed, looked up among the files of this machine.

    Attributes:
        text: The name, as `SeriesName.parse` takes it: of a path the absolute one.
        root: The root that it lies below.
        file: The one file that it is, or None.
        hint: What may have been meant instead, or empty.
    """

    text: str
    root: str
    file: Path | None = None
    hint: str = ""

    @property
    def name(self) -> SeriesName:
        """The name, taken apart."""
        return SeriesName.parse(self.text)

    def open(self, settings: Settings, environment: Mapping[str, str]) -> Storage:
        """Open its root.

        Raises:
            PreviewError: The root cannot be one.
        """
        if self.file is not None:
            return OneFile(self.file, settings.concurrency or CONCURRENCY)
        return open_storage(self.root, settings, environment)

    @contextmanager
    def hinting(self) -> Iterator[None]:
        """Have an error that is raised inside tell what may have been meant instead."""
        try:
            yield
        except PreviewError as error:
            if self.hint:
                error.add_note(self.hint)
            raise


def find(text: str, root: str | None, environment: Mapping[str, str]) -> Named:
    """What a series' name means here.

    `./x`, `x/`, `.` and absolute paths are paths. Without a root so are a name with a part `..`, that of a
    file that is there, and one whose first part is a folder here, so that a local name with a mistake in it
    stays on this machine. Every other name is one below the root, and `..` is a part of none.

    Args:
        text: As it was typed.
        root: The root that was named, or None.
        environment: Tells the home folder.

    Raises:
        SeriesNameError: It cannot name a series.
        OutputError: The working folder is gone.
    """
    text = _as_path(text, root) or text
    if text.startswith(("/", "~/")):
        text = text.rstrip("/") or "/"
        if "*" in text and os.path.exists(text):  # noqa: PTH110 - Path.exists raises where the name is too long
            text = Path(text).as_uri()  # where an escaped * is no prefix's
    head, slash, tail = text.rpartition("/") if is_full_name(text) else ("", "", text)
    # Storages list what is no UTF-8 so, and read it by that.
    text = f"{head}{slash}{listed_name(tail)}"
    name = SeriesName.parse(text)
    below = name.root or (DEFAULT_ROOT if root is None else root)
    hint = ""
    if root is None and name.root is None and _is_there(text):
        hint = f"a folder {text} lies here: ./{text} names it"
    return Named(text, below, _file(name, tail, environment), hint)


def _as_path(text: str, root: str | None) -> str | None:
    """The absolute path that a name is; None where it is none."""
    parts = text.replace("\\", "/").split("/") if os.name == "nt" else text.split("/")
    goes_up = ".." in parts
    if not text or (is_full_name(text) and not (goes_up and root is None and text.startswith("/"))):
        return None
    marked = root is None if goes_up else parts[0] == "." or parts[-1] == ""
    if not marked and root is None:
        # The functions of os.path do not raise where the name is too long.
        marked = os.path.isfile(text) or (len(parts) > 1 and _lies_here(parts[0]))  # noqa: PTH113
    return str(absolute(text)) if marked else None


def _lies_here(name: str) -> bool:
    """Whether a folder of a name is in the working folder, in whichever way its letters are composed."""
    if _is_there(name):
        return True
    composed = unicodedata.normalize("NFC", name)
    with suppress(OSError):  # of a working folder that is gone, or closed
        return not name.isascii() and composed in {
            unicodedata.normalize("NFC", path.name) for path in Path().iterdir()
        }
    return False


def _file(name: SeriesName, tail: str, environment: Mapping[str, str]) -> Path | None:
    """The file that a path or file:// URL names, or None."""
    if name.root is None or name.is_prefix:
        return None
    root = parse_root(name.root, environment)
    if root.kind != "local":
        return None
    # Of a URL the name has been unescaped; of a path it is as the file system has it.
    file = Path(root.place) / (name.text if "://" in name.root else tail)
    return file if os.path.isfile(file) else None  # noqa: PTH113 - raises where the name is too long


def _is_there(name: str) -> bool:
    # Path.is_dir raises where the name is too long.
    return os.path.isdir(name)  # noqa: PTH112
