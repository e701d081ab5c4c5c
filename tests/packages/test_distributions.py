"""What is uploaded: the source distribution, the wheel, and the page that is made of them."""

import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both, the wheel built from what the source distribution holds."""
    folder = tmp_path_factory.mktemp("dist")
    build(PROJECT, folder, "sdist")
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    build(source, folder, "wheel")
    return folder


def build(source: Path, folder: Path, kind: str) -> None:
    """Build one of them."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)


@pytest.fixture(scope="module")
def metadata(built: Path) -> Message:
    """The wheel's metadata, of which a package index makes its page."""
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(wheel.read(name))


def test_the_source_distribution_is_what_it_takes(built: Path) -> None:
    """It holds the package and the papers about it, and nothing of git, tests or the deployment."""
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    papers = {"README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "SECURITY.md", "PKG-INFO"}
    rest = {
        name
        for name in names
        if not name.startswith(("shared/dicom_series_preview/", "shared/dicom_sample/"))
    }
    assert rest == {*papers, "pyproject.toml", "hatch_build.py"}


def test_every_link_of_the_page_leads_somewhere(metadata: Message) -> None:
    """On a package page no link or picture is relative, and those into the repository name files of it."""
    text = metadata.get_payload()
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert len(targets) > 10
    for target in targets:
        found = re.fullmatch(
            r"https://(?:raw\.githubusercontent\.com/dicom-series-preview/dicom-series-preview/main"
            r"|github\.com/dicom-series-preview/dicom-series-preview/blob/main)/(\S+)",
            target,
        )
        assert target.startswith("https://"), target
        assert found is None or (PROJECT / found[1]).exists(), target
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)
    assert pictures
    assert all(picture.startswith("https://raw.githubusercontent.com/") for picture in pictures)


def test_the_page_tells_whose_it_is_and_where_it_runs(metadata: Message) -> None:
    """Authors, licence, where to ask, status, systems and the Pythons that are allowed."""
    assert metadata["Author"] == "dicom-series-preview contributors"
    assert metadata["License-Expression"] == "MIT"
    urls = dict(line.split(", ", 1) for line in metadata.get_all("Project-URL"))
    assert urls.keys() == {"Source", "Documentation", "Changelog", "Issues"}
    classifiers = metadata.get_all("Classifier")
    assert any(line.startswith("Development Status :: ") for line in classifiers)
    assert {"Operating System :: MacOS", "Operating System :: POSIX :: Linux"} <= set(classifiers)
    pythons = {line.rpartition(" ")[2] for line in classifiers if re.search(r"Python :: 3\.\d+$", line)}
    assert pythons == {"3.11", "3.12", "3.13", "3.14"}
    assert metadata["Requires-Python"] == "<3.15,>=3.11"
    assert metadata.get_all("Provides-Extra") == ["gdcm", "volumes"]


def test_the_citation_is_of_this_version() -> None:
    """CITATION.cff names the version and licence that the package has."""
    text = (PROJECT / "CITATION.cff").read_text(encoding="utf-8")
    told = dict(re.findall(r"^([a-z-]+): (.+)$", text, re.MULTILINE))
    version = (PROJECT / "shared/dicom_series_preview/_version.py").read_text(encoding="utf-8")
    assert f'"{told["version"]}"' in version
    assert (told["license"], told["cff-version"], told["type"]) == ("MIT", "1.2.0", "software")
