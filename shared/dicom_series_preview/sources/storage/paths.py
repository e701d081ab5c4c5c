"""Convert paths of objects to paths of files, on POSIX or Windows, without touching a disk."""

from __future__ import annotations

import re
from pathlib import PurePath, PureWindowsPath
from typing import TypeVar
from urllib.parse import unquote

P = TypeVar("P", bound=PurePath)

HERE: type[PurePath] = type(PurePath())
# What a name on Windows cannot hold, or loses at its end.
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f"*:<>?\\|]|[. ]\Z')
# Windows finds its devices in every folder.
_DEVICE = re.compile(r"(?i:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9\u00b9\u00b2\u00b3]) *(?:\.|\Z)")
_DRIVE = re.compile(r"/[A-Za-z]:")


def is_windows(flavour: type[PurePath]) -> bool:
    """Return True for paths of Windows."""
    return issubclass(flavour, PureWindowsPath)


def file_below(folder: P, path: str) -> P:
    r"""Return the path of an object below a folder; on Windows, percent-escape what no name can hold.

    So `..\x`, `C:\x` and `a:b` stay below the folder, and the cache holds series of any name.

    Args:
        folder: The folder.
        path: The object's path below it, `/` between parts, none of which is empty, `.` or `..`.
    """
    if is_windows(type(folder)):
        path = "/".join(map(_windows_name, path.split("/")))
    return folder / path


def path_of_file_url(url: str, flavour: type[PurePath] = HERE) -> PurePath:
    """Return the path in a `file://` URL; bytes that are not UTF-8 become what os.fsdecode makes of them."""
    path = unquote(url.removeprefix("file://"), errors="surrogateescape")
    if is_windows(flavour):
        # The URL's own slash stands before a drive letter, but not before a host.
        path = path[1:] if _DRIVE.match(path) else path if path.startswith("/") else f"//{path}"
    return flavour(path)


def _windows_name(name: str) -> str:
    escaped = _NOT_IN_NAMES.sub(lambda found: _escape(found[0]), name)
    return _escape(escaped[0]) + escaped[1:] if _DEVICE.match(escaped) else escaped


def _escape(character: str) -> str:
    return f"%{ord(character):02X}"
