from pathlib import Path

import pytest

from dicom_series_preview.base.errors import RequestError, SeriesNameError
from dicom_series_preview.sources.storage.roots import is_full_name, parse_root, split_root

HERE = str(Path.cwd())


@pytest.mark.parametrize(
    ("root", "kind", "url", "place", "prefix"),
    [
        ("s3://bucket", "s3", "s3://bucket", "bucket", ""),
        ("S3://bucket/", "s3", "s3://bucket", "bucket", ""),
        ("s3://bucket/a b/c#1/", "s3", "s3://bucket/a b/c#1", "bucket", "a b/c#1"),
        ("http://Host:80/", "http", "http://host", "http://host", ""),
        ("https://host:0443/a", "http", "https://host/a", "https://host", "a"),
        ("https://host:/a", "http", "https://host/a", "https://host", "a"),
        ("https://host:80/a", "http", "https://host:80/a", "https://host:80", "a"),
        ("http://[::1]:80/a", "http", "http://[::1]/a", "http://[::1]", "a"),
        ("http://[::1]:8080", "http", "http://[::1]:8080", "http://[::1]:8080", ""),
        (
            "https://h/%7ea%41%2d/b%2fc%c3%bc",
            "http",
            "https://h/~aA-/b%2Fc%C3%BC",
            "https://h",
            "~aA-/b%2Fc%C3%BC",
        ),
        ("https://h/a b/%C3%BC/", "http", "https://h/a%20b/%C3%BC", "https://h", "a%20b/%C3%BC"),
        ("file:///a/b%20c/", "local", "file:///a/b%20c", "/a/b c", ""),
        ("file://localhost/a", "local", "file:///a", "/a", ""),
        ("/a/b c#1%", "local", "file:///a/b%20c%231%25", "/a/b c#1%", ""),
        ("~/data", "local", "file:///home/me/data", "/home/me/data", ""),
        ("~", "local", "file:///home/me", "/home/me", ""),
        ("/", "local", "file:///", "/", ""),
        ("data", "local", f"file://{HERE}/data", f"{HERE}/data", ""),
        (".", "local", f"file://{HERE}", HERE, ""),
    ],
)
def test_roots(root: str, kind: str, url: str, place: str, prefix: str) -> None:
    """Every form of root is taken apart, its URL canonical."""
    found = parse_root(root, {"HOME": "/home/me"})
    assert (found.kind, found.url, found.place, found.prefix) == (kind, url, place, prefix)


def test_relative_roots_may_lead_up() -> None:
    """A relative path may begin with `..`, as on any command line."""
    assert parse_root("../data", {}).place == str(Path.cwd().parent / "data")


@pytest.mark.parametrize(
    "root",
    [
        "",
        "a\nb",
        "ftp://host/x",
        "gs://bucket",
        "s3://",
        "s3:///prefix",
        "s3://key:secret@bucket",
        "s3://a/../b",
        "s3://a/x//y",
        "s3://b ucket",
        "http://",
        "http://user:secret@host/x",
        "http://secret@host/x",
        "http://host/a/../b",
        "http://host/a/%2E%2e/b",
        "http://host/a?token=secret",
        "http://host/a#b",
        "http://host:port/",
        "http://[::1/",
        "file://host/a",
        "file:///a/../b",
        "file:///a%0Ab",
        "/a/../b",
        "a/../../b",
        "~nobody-of-this-name/x",
    ],
)
def test_bad_roots(root: str) -> None:
    """What cannot be a root is refused as a parameter, and no secret is repeated."""
    with pytest.raises(RequestError) as raised:
        parse_root(root, {})
    assert raised.value.parameter == "root"
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("series", "root", "name"),
    [
        ("s3://bucket/1.2.3", "s3://bucket", "1.2.3"),
        ("s3://bucket/a/1.2.3/", "s3://bucket/a", "1.2.3"),
        ("https://h/a/b%20c", "https://h/a", "b c"),
        ("https://h/x", "https://h", "x"),
        ("file:///a/b%20c", "file:///a", "b c"),
        ("file:///a", "file:///", "a"),
        ("/a/b%20c/", "/a", "b%20c"),
        ("/a", "/", "a"),
    ],
)
def test_full_names(series: str, root: str, name: str) -> None:
    """A full name's last part is the series, the rest its root, which opens."""
    assert is_full_name(series)
    assert split_root(series) == (root, name)
    parse_root(root, {})


@pytest.mark.parametrize(
    "series", ["s3://bucket", "s3://bucket/", "https://host", "https://host:8080/", "/", "file:///"]
)
def test_full_names_without_a_series(series: str) -> None:
    """A root alone names no series."""
    with pytest.raises(SeriesNameError):
        split_root(series)


@pytest.mark.parametrize("series", ["1.2.3", "389*", "folder", "a/b"])
def test_short_names(series: str) -> None:
    """A name without a root is not a full one."""
    assert not is_full_name(series)
