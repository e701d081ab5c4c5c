from __future__ import annotations

import hashlib

import pytest

from dicom_series_preview.archive.names import index_folder, index_path
from dicom_series_preview.base.settings import DEFAULT_ROOT


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
