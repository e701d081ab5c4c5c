"""What tests of the deployment share."""

import os
import platform
import shutil
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
ENVIRONMENT = PROJECT / ".venv-aws" / "bin"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers", "aws: needs what `make build-aws` makes; skipped where it is not there"
    )


def tool(name: str) -> str:
    """A program of the environment that `make build-aws` makes, or from PATH."""
    found = shutil.which(name, path=f"{ENVIRONMENT}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not there; make build-aws installs it")
    return found


@pytest.fixture(scope="session")
def sam() -> str:
    """The SAM command line."""
    return tool("sam")


@pytest.fixture(scope="session")
def python313() -> str:
    """Python 3.13, as the Lambda runtime."""
    return sys.executable if sys.version_info[:2] == (3, 13) else tool("python3.13")


@pytest.fixture(scope="session")
def layers() -> list[Path]:
    """The built layers' folders, which Lambda unpacks into /opt: dependencies, package."""
    built = PROJECT / ".aws-sam" / "build"
    folders = [built / "DependenciesLayer", built / "PackageLayer"]
    if not all((folder / "python").is_dir() for folder in folders):
        pytest.skip("no layers are built; make build-aws builds them")
    machine = platform.machine()
    if not list((folders[0] / "python").glob(f"numpy/_core/*-{machine}-linux-gnu.so")):
        pytest.skip(f"the layers are built for another processor than {machine}")
    return folders


@pytest.fixture(scope="session")
def catalogue_layer(layers: list[Path]) -> Path:
    """The built layer of the functions that write the catalogue's table."""
    return layers[0].with_name("CatalogueLayer")


@pytest.fixture(scope="session")
def volumes_layer(layers: list[Path]) -> Path:
    """The built layer of the function that converts series into volumes."""
    return layers[0].with_name("VolumesLayer")
