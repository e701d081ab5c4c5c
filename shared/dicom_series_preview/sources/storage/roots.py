"""Parse the name of a storage root: which storage, where, and below which folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Literal
from urllib.parse import SplitResult, quote, unquote, urlsplit

from dicom_series_preview.base.errors import RequestError, SeriesNameError
from dicom_series_preview.base.settings import HTTP_TOKENS_VARIABLE, absolute
from dicom_series_preview.sources.storage.paths import HERE, is_windows, path_of_file_url

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMES = "s3://, http://, https://, file:// or a folder"
# RFC 3986's path characters; `%` stays where it starts an escape.
_URL_PATH_SAFE = "/!$&'()*+,;=:@-._~"
# RFC 3986's unreserved characters mean the same escaped or not (6.2.2.2).
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


@dataclass(frozen=True, slots=True)
class Root:
    """A storage root, parsed.

    Attributes:
        kind: Its storage.
        url: Its canonical URL, without a trailing slash.
        place: The bucket, the HTTP host with its port, or the local folder's absolute path.
        prefix: The path between the place and the objects, without slashes at its ends; still percent-encoded
            for HTTP, empty for a local folder.
    """

    kind: Literal["s3", "http", "local"]
    url: str
    place: str
    prefix: str = ""


def parse_root(root: str, environment: Mapping[str, str]) -> Root:
    """Parse a storage root.

    Args:
        root: `s3://bucket[/prefix]`, `http(s)://host[:port][/path]`, `file:///path`, or a local path:
            absolute, relative, or below `~`. A relative path may begin with `..`; nothing else may hold it.
        environment: Gives the home folder.

    Raises:
        RequestError: The root has another form.
    """
    if not root or _CONTROL.search(root):
        raise RequestError("root", f"empty or with control characters; give {SCHEMES}")
    found = _SCHEME.match(root)
    if found is None:
        return _local(_local_path(root, environment))
    scheme = found[1].lower()
    if scheme == "s3":
        return _s3(root[found.end() :])
    if scheme in {"http", "https"}:
        return _http(scheme, root)
    if scheme == "file":
        return _file(root)
    raise RequestError("root", f"{scheme}:// is not supported; give {SCHEMES}")


def is_full_name(series: str, flavour: type[PurePath] = HERE) -> bool:
    """Return True where a series is named with its root: by a URL or an absolute path of this system."""
    if _SCHEME.match(series) is not None or series.startswith(("/", "~/")):
        return True
    return is_windows(flavour) and (flavour(series).root != "" or series.startswith("~\\"))


def split_root(series: str, flavour: type[PurePath] = HERE) -> tuple[str, str]:
    """Split the full name of a series into its root and the name below it.

    Args:
        series: A URL or an absolute path, whose last part is the series.
        flavour: The system whose paths to parse.

    Returns:
        The root, for `open_storage`, and the series' name, percent-decoded if it came from an HTTP or file
        URL.

    Raises:
        SeriesNameError: No part is left for the series' name.
    """
    trimmed = series.rstrip("/")
    found = _SCHEME.match(trimmed)
    if found is None and is_windows(flavour):
        path = flavour(series)
        if not path.name:
            raise SeriesNameError(f"{series} names a storage root, but no series below it")
        return str(path.parent), path.name
    start, scheme = (found.end(), found[1].lower()) if found else (0, "file path")
    above, slash, name = trimmed[start:].rpartition("/")
    if not slash or not name or (scheme in {"s3", "http", "https"} and not above):
        raise SeriesNameError(f"{_without_secrets(series)} names a storage root, but no series below it")
    root = trimmed[:start] + (above or "/")
    return root, unquote(name) if scheme in {"http", "https", "file"} else name


def _without_secrets(url: str) -> str:
    """Return the URL without its possible secrets."""
    return re.sub(r"//[^/@]*@", "//", url.partition("?")[0])


def _no_dots(path: str, shown: str) -> None:
    if any(part in {".", ".."} for part in path.split("/")):
        raise RequestError("root", f"{shown} holds '.' or '..'")


def _s3(rest: str) -> Root:
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.rstrip("/")
    if "@" in bucket:
        raise RequestError("root", "credentials do not belong in a URL; use the environment or a profile")
    if not _BUCKET.fullmatch(bucket):
        raise RequestError("root", f"{bucket!r} is no bucket name; give s3://bucket or s3://bucket/prefix")
    _no_dots(prefix, f"s3://{rest}")
    if prefix and "" in prefix.split("/"):
        raise RequestError("root", f"s3://{rest} has an empty part in its prefix")
    return Root("s3", "s3://" + "/".join(filter(None, (bucket, prefix))), bucket, prefix)


def _http(scheme: str, root: str) -> Root:
    parts = _split(root)
    if parts.query or parts.fragment or root.endswith(("?", "#")):
        raise RequestError(
            "root", f"{_without_secrets(root)}: a root cannot have a query or a fragment; write # as %23"
        )
    if not parts.hostname:
        raise RequestError("root", f"{_without_secrets(root)} names no host")
    _no_dots(unquote(parts.path), _without_secrets(root))
    # Keep escapes, and escape what needs it.
    path = _ESCAPE.sub(_normal_escape, quote(parts.path, safe=_URL_PATH_SAFE + "%")).strip("/")
    host = parts.netloc.lower().rpartition(":")[0] if parts.port is not None else parts.netloc.lower()
    port = "" if parts.port in {None, _DEFAULT_PORTS[scheme]} else f":{parts.port}"
    place = f"{scheme}://{host.removesuffix(':')}{port}"
    return Root("http", "/".join(filter(None, (place, path))), place, path)


def _normal_escape(found: re.Match[str]) -> str:
    """Return an escape as RFC 3986 (6.2.2) normalises it, so that one folder has one URL."""
    character = chr(int(found[1], 16))
    return character if _UNRESERVED.fullmatch(character) else found[0].upper()


def _file(root: str) -> Root:
    parts = _split(root)
    if parts.netloc not in {"", "localhost"} or not parts.path:
        raise RequestError("root", f"{_without_secrets(root)} is no local path; give file:///path")
    if parts.query or parts.fragment:
        raise RequestError("root", f"{_without_secrets(root)}: write ? as %3F and # as %23")
    path = unquote(parts.path)
    if _CONTROL.search(path):
        raise RequestError("root", "control characters in a file URL")
    _no_dots(path, root)
    return _local(Path(path_of_file_url(parts.path)))


def _split(root: str) -> SplitResult:
    try:
        parts = urlsplit(root)
        _ = parts.port
    except ValueError as error:
        raise RequestError("root", f"{_without_secrets(root)} is no URL") from error
    if parts.username is not None or parts.password is not None:
        raise RequestError(
            "root", f"credentials do not belong in a URL; put them in ~/.netrc, or in {HTTP_TOKENS_VARIABLE}"
        )
    return parts


def _local_path(root: str, environment: Mapping[str, str]) -> Path:
    path = Path(root)
    if path.parts and path.parts[0] == "~":
        home = environment.get("HOME")
        path = (Path(home) if home else Path.home()).joinpath(*path.parts[1:])
    elif path.parts and path.parts[0].startswith("~"):
        try:
            path = path.expanduser()
        except RuntimeError as error:
            raise RequestError("root", f"{root}: there is no such user") from error
    named = iter(path.parts)
    for part in named:
        if part != "..":
            break
    if ".." in named:
        raise RequestError("root", f"{root} holds '..' after a name")
    return path


def _local(path: Path) -> Root:
    place = absolute(path)
    return Root("local", place.as_uri(), str(place))
