"""Names of series: parse what users type, and name our index files; no storage is asked."""

from __future__ import annotations

import hashlib
import re
import sys
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import SeriesNameError
from dicom_series_preview.base.settings import DEFAULT_ROOT
from dicom_series_preview.sources.storage.paths import HERE, is_windows
from dicom_series_preview.sources.storage.roots import is_full_name, split_root

if TYPE_CHECKING:
    from pathlib import PurePath

_HEX_UUID = re.compile(r"([0-9a-fA-F]{8})([0-9a-fA-F]{4})([0-9a-fA-F]{4})([0-9a-fA-F]{4})([0-9a-fA-F]{12})")
_HEX_PREFIX = re.compile(r"[0-9a-fA-F]{9,31}")
_HYPHENATED_PREFIX = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F-]{0,26}")
_KEY_BYTES = 1024
DEFAULT_ROOT_ALIAS = "default"
"""The alias of the root to use where none is named."""

NAME_BYTES = 900
"""The longest name of a series, in bytes of UTF-8. An S3 key has at most 1,024, and the keys of a series'
objects and index are longer than its name."""

# Half a character. Names on a disk can have them: Python puts them in place of bytes that are no text.
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# The disks of macOS and Windows usually ignore case.
_FOLDS = sys.platform in {"darwin", "win32"}


@dataclass(frozen=True, slots=True)
class SeriesName:
    """A user's name for a series.

    Attributes:
        text: The name below the root, or the part of it before a final `*`.
        root: The storage root in the name, or None.
        is_prefix: The name ended with `*`: it means the first series with this prefix.
    """

    text: str
    root: str | None = None
    is_prefix: bool = False

    @classmethod
    def parse(cls, text: str, flavour: type[PurePath] = HERE) -> SeriesName:
        """Parse a name, and refuse an impossible one before any storage is asked.

        Args:
            text: A UUID with or without hyphens, a UID, a folder name, a prefix ending with `*`, or a URL or
                absolute path that ends with one of those.
            flavour: The system's paths: on Windows with drives and backslashes.

        Raises:
            SeriesNameError: The text cannot name a series.
        """
        root = None
        name = text
        if is_full_name(text, flavour) and not _CONTROL.search(text):
            slashed = text.replace("\\", "/") if is_windows(flavour) else text
            if any(part in ("..", ".") for part in slashed.split("/")):
                raise SeriesNameError(f"{text} has a part '..' or '.'")
            root, name = split_root(text, flavour)
        elif is_windows(flavour) and "\\" in name:
            raise SeriesNameError(f"{text} has a backslash; write / between folders")
        # Search the unescaped name.
        if _CONTROL.search(name):
            raise SeriesNameError("a name has no control characters")
        # In a URL, an escaped * is a part of the name.
        typed = text.rstrip("/").rpartition("/")[2] if root is not None and "://" in root else name
        is_prefix = typed.endswith("*")
        name = name.removesuffix("*") if is_prefix else name
        if not name:
            raise SeriesNameError("the name is empty; give a series, or the first characters of one and *")
        if "*" in typed.removesuffix("*"):
            raise SeriesNameError(f"{text} has a * that is not at its end")
        length = len(name.encode(errors="surrogatepass"))
        if length > NAME_BYTES:
            raise SeriesNameError(
                f"the name has {length} bytes as UTF-8; the limit is {NAME_BYTES}, as S3's keys have at most "
                f"{_KEY_BYTES} with what is in the series"
            )
        parts = name.split("/")
        if ".." in parts or "." in parts or "" in (parts[:-1] if is_prefix else parts):
            raise SeriesNameError(f"{text} has a part that is empty, '.' or '..'")
        return cls(name, root, is_prefix)

    def candidates(self) -> list[str]:
        """Return the folders that the name can mean, the likeliest first: as given, and a UUID respelled."""
        names = [self.text]
        uuid = _HEX_UUID.fullmatch(self.text.replace("-", ""))
        if uuid is not None:
            hyphenated = "-".join(uuid.groups())
            names += [hyphenated, hyphenated.replace("-", ""), hyphenated.lower()]
            names.append(hyphenated.replace("-", "").lower())
        elif self.is_prefix and _HEX_PREFIX.fullmatch(self.text):
            text = self.text
            names.append(
                "-".join(p for p in (text[:8], text[8:12], text[12:16], text[16:20], text[20:]) if p)
            )
        elif self.is_prefix and _HYPHENATED_PREFIX.fullmatch(self.text):
            names.append(self.text.replace("-", ""))
        return list(dict.fromkeys(names))


def refuse_root(name: SeriesName) -> None:
    """Refuse a name outside the deployment's roots: a URL, a path, or one with half a character.

    Raises:
        SeriesNameError: The name has a root, or half a character, which JSON's escapes allow.
    """
    if LONE_SURROGATE.search(name.text):
        raise SeriesNameError("a name has half a surrogate pair, which stands for no character")
    if name.root is not None:
        raise SeriesNameError("a series is named by its folder below the root, not by a URL or a path")


def index_folder(root: str) -> str:
    """Return the folder, below a place for caches, for the indices of one root and no other.

    Args:
        root: `Storage.identity` of the root.

    Returns:
        `indices` for the default root; for any other a folder in it, named by the first 32 hexadecimal digits
        of the SHA-256 of `root`.
    """
    if root == DEFAULT_ROOT:
        return "indices"
    digest = hashlib.sha256(root.encode(errors="surrogateescape")).hexdigest()
    return f"indices/{digest[:32]}"


def index_path(series: str, folder: str, *, folds: bool = _FOLDS) -> str:
    """Return the path of a series' index below a place for caches.

    Args:
        series: The series' folder below its root.
        folder: Its root's folder of indices there, or empty.
        folds: The place ignores case and Unicode form in names: a digest then separates them.
    """
    if folds and folder and series != unicodedata.normalize("NFC", series).casefold():
        series += f"~{hashlib.sha256(series.encode(errors='surrogatepass')).hexdigest()[:16]}"
    name = f"{series}_index.parquet"
    return f"{folder}/{name}" if folder else name


def series_digest(root: str, series: str) -> str:
    """Return a digest that stands for a series in names that must not reveal it.

    Args:
        root: The URL of its root.
        series: Its folder below the root.
    """
    return hashlib.sha256(repr((root, series)).encode()).hexdigest()[:32]
