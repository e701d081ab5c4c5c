import hashlib

import pytest

from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.archive.names import SeriesName, index_folder, index_path
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.base.errors import SeriesNameError
from dicom_series_preview.base.settings import DEFAULT_ROOT, Limits
from dicom_series_preview.sources.storage.memory import MemoryStorage
from doubles import UntouchableStorage


def test_indices_of_the_default_root_lie_right_in_their_folder() -> None:
    """An index of the default root is `indices/{SERIES}_index.parquet`."""
    assert index_path("1.2.3", index_folder(DEFAULT_ROOT)) == "indices/1.2.3_index.parquet"


@pytest.mark.parametrize(
    ("root", "folder"),
    [
        ("file:///data/a", "indices/4d3e98eb8821b32a2c6139cc4063ef5a"),
        ("s3://my-archive/ct", "indices/0a85be26c327ef55f6f8bf4b34303e51"),
    ],
)
def test_a_roots_folder_stays_the_same(root: str, folder: str) -> None:
    """The folder of a root is the same in every version: what has been indexed once is found for good."""
    assert index_folder(root) == folder
    assert folder == f"indices/{hashlib.sha256(root.encode()).hexdigest()[:32]}"


def test_no_two_roots_share_a_folder() -> None:
    """Roots that differ in depth, scheme, case or a slash have folders of their own."""
    roots = [DEFAULT_ROOT, f"{DEFAULT_ROOT}/x", "file:///data", "file:///data/a", "file:///Data", "s3://data"]
    assert len({index_folder(root) for root in roots}) == len(roots)


def test_a_root_whose_name_is_no_text_has_a_folder() -> None:
    """A root with bytes that are no UTF-8, as a command line passes them on, has a folder too."""
    assert index_folder("s3://b/\udcff").startswith("indices/")


UUID = "389b1f00-5a3e-4c9d-8f21-6d0c5e7a9b42"
PLAIN = UUID.replace("-", "")
UID = "1.2.840.113619.2.55.3"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (UUID, SeriesName(UUID)),
        (PLAIN, SeriesName(PLAIN)),
        (UID, SeriesName(UID)),
        ("any folder name", SeriesName("any folder name")),
        ("patient/study/series", SeriesName("patient/study/series")),
        ("389*", SeriesName("389", None, is_prefix=True)),
        ("a/b*", SeriesName("a/b", None, is_prefix=True)),
        (f"s3://bucket/{UUID}", SeriesName(UUID, "s3://bucket")),
        ("s3://bucket/a/b/389*", SeriesName("389", "s3://bucket/a/b", is_prefix=True)),
        (f"https://host:8042/dicom/{UID}/", SeriesName(UID, "https://host:8042/dicom")),
        ("http://host/a%20b", SeriesName("a b", "http://host")),
        (f"file:///data/{UID}", SeriesName(UID, "file:///data")),
        (f"/data/{UID}", SeriesName(UID, "/data")),
        ("/data/CT 1", SeriesName("CT 1", "/data")),
    ],
)
def test_names(text, expected):
    """A series is a UUID, UID, folder or prefix, alone or as the last part of a URL or path."""
    assert SeriesName.parse(text) == expected


REFUSED = [
    "",
    "*",
    "a*b",
    "a**",
    "..",
    "../a",
    "a/../b",
    "a//b",
    "a/",
    "./a",
    "a\0b",
    "a\nb",
    "\x7f",
    "a\x1b[0m",
    "/",
    "s3://bucket",
    "s3://bucket/../a",
    "s3://bucket/a\nb",
    "http://host/%2e%2e",
    "http://host/a%0ab",
    "http://host/a%00b",
    "http://host/a%2f..%2fb",
    "file:///",
    "a" * 901,
    "a" * 901 + "*",
    "\u00e4" * 451,
    "\udc80" * 301,
    "s3://bucket/" + "a" * 901,
    "a" * 5000,
    "/data/../a",
    "/data/*",
]


@pytest.mark.parametrize("text", REFUSED)
def test_names_that_cannot_be_are_refused_before_storage_is_touched(text):
    """A name with `..`, a control character or an empty part never reaches a storage."""
    untouchable = UntouchableStorage()
    with pytest.raises(SeriesNameError) as refused:
        SeriesIndexer(untouchable, IndexCache(untouchable), Limits()).open(SeriesName.parse(text))
    assert refused.value.parameter == "series"
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200


def test_a_name_may_have_as_many_bytes_as_leave_room_in_a_key():
    """A name of 900 bytes is one; of that length, all that is kept of it has a key that S3 takes."""
    longest = "\u00e4" * 450
    assert SeriesName.parse(longest).text == longest
    assert len(IndexCache(MemoryStorage(), index_folder("s3://bucket")).path(longest).encode()) < 1024 - len(
        ".lock"
    )
    with pytest.raises(SeriesNameError, match="has 901 bytes as UTF-8; the limit is 900"):
        SeriesName.parse("a" * 901)
