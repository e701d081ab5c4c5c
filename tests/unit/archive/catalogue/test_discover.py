import pytest

from dicom_series_preview.archive.catalogue.discover import discover
from dicom_series_preview.sources.storage.base import ObjectInfo


def found(*paths: str) -> tuple[dict[str, list[str]], list[str]]:
    """The series of a listing, and what lies in none."""
    made = discover([ObjectInfo(path, 1, "v") for path in sorted(paths)])
    series = {name: [info.path for info in listing] for name, listing in made.series.items()}
    return series, [info.path for info in made.loose]


@pytest.mark.parametrize(
    ("paths", "series"),
    [
        (("a/1.dcm", "b/1.dcm"), {"a": ["a/1.dcm"], "b": ["b/1.dcm"]}),
        (("p/st/a/1", "p/st/b/1"), {"p/st/a": ["p/st/a/1"], "p/st/b": ["p/st/b/1"]}),
        # A folder that holds an instance takes all below it.
        (("a/1.dcm", "a/b/2.dcm", "a/b/c/3.dcm"), {"a": ["a/1.dcm", "a/b/2.dcm", "a/b/c/3.dcm"]}),
        # A CD: its directory file is no instance, so each folder of images is a series of its own.
        (
            ("CD/DICOMDIR", "CD/DICOM/IM00001", "CD/DICOM/IM00002"),
            {"CD/DICOM": ["CD/DICOM/IM00001", "CD/DICOM/IM00002"]},
        ),
        (("cd/dicomdir", "cd/readme.txt", "cd/IHE_PDI/index.xml"), {}),
        (("a/notes.txt", "a/scan.json"), {}),
        (("a/notes.txt", "a/1"), {"a": ["a/1", "a/notes.txt"]}),
        (("a b/ü n.dcm",), {"a b": ["a b/ü n.dcm"]}),
        # '-' sorts before '/': a series' objects need not stand together in the listing.
        (("a/1", "a-b/1", "a/b/2"), {"a": ["a/1", "a/b/2"], "a-b": ["a-b/1"]}),
    ],
)
def test_series_are_the_highest_folders_with_instances(
    paths: tuple[str, ...], series: dict[str, list[str]]
) -> None:
    """A series is a folder with an object whose name allows an instance, and with all that lies below it."""
    assert found(*paths) == (series, [])


def test_the_root_is_no_series() -> None:
    """What lies right in the root belongs to no series, and takes nothing below it."""
    assert found("1.dcm", "notes.txt", "a/2.dcm") == ({"a": ["a/2.dcm"]}, ["1.dcm"])


def test_an_empty_root_has_no_series() -> None:
    """Nothing is found in nothing."""
    assert found() == ({}, [])
