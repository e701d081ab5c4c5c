"""What pyproject.toml asks for, and the locked environments that test it."""

import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

PROJECT = Path(__file__).parents[2]


def asked() -> dict[str, Requirement]:
    """Every direct dependency, those of the extras among them."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = chain(project["dependencies"], *project["optional-dependencies"].values())
    return {requirement.name: requirement for requirement in map(Requirement, lines)}


def locked(name: str) -> dict[str, list[Version]]:
    """The versions that a file of `requirements` pins; several where they depend on the Python."""
    text = (PROJECT / "requirements" / name).read_text(encoding="utf-8")
    pins: dict[str, list[Version]] = {}
    for package, version in re.findall(r"^([a-z0-9-]+)==([^ ]+)", text, re.MULTILINE):
        pins.setdefault(package, []).append(Version(version))
    return pins


def test_the_oldest_versions_are_what_is_tested() -> None:
    """Each direct dependency has a minimum, and `make test-minimum` installs its first release from there."""
    pins = locked("minimum.txt")
    for name, requirement in asked().items():
        # A release that is broken may be left out, and a next major one may be waited for.
        (bound,) = [one for one in requirement.specifier if one.operator not in ("!=", "<")]
        minimum = Version(bound.version)
        assert bound.operator == ">=", name
        assert [pin.release[: len(minimum.release)] for pin in pins[name]] == [minimum.release], name


def test_the_tests_keep_to_the_oldest_versions() -> None:
    """What the tests need beside it leaves the oldest versions as they are."""
    pins = locked("minimum.txt")
    for name, versions in locked("minimum-dev.txt").items():
        assert versions == pins.get(name, versions), name


def test_the_newest_versions_are_allowed() -> None:
    """What `make test` installs is within what pyproject.toml asks for."""
    pins = locked("runtime.txt")
    for name, requirement in asked().items():
        assert all(version in requirement.specifier for version in pins.get(name, ())), name


def test_nothing_needs_pandas(tmp_path: Path) -> None:
    """The product works where pandas is not installed, as after `pip install .`."""
    code = """
import sys
from pathlib import Path
class NoPandas:
    def find_spec(self, name, path=None, target=None):
        if name == "pandas":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NoPandas())
from dicom_series_preview import Series
from dicom_sample import write_sample
root = Path(sys.argv[1])
folder = write_sample(root, slices=3)
for _ in range(2):  # the index is made, and then read
    series = Series(folder.name, root=str(root), cache_dir=root / "cache")
    series.mosaic(contrast="auto")
    series.image(0.5)
"""
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, text=True)
