"""What every test may use."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import planted
import servers


@pytest.fixture(autouse=True)
def planted_values_stay_out_of_the_log() -> Iterator[None]:
    """No log record of any test may hold what is planted."""
    with planted.watched_log() as lines:
        yield
    assert not lines, lines


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real DICOM files; tests of it are skipped where there is none."""
    named = os.environ.get("DICOM_TEST_DATA")
    if not named:
        pytest.skip("DICOM_TEST_DATA does not name a folder of real DICOM files")
    folder = Path(named)
    if not folder.is_dir():
        pytest.skip(f"DICOM_TEST_DATA names {folder}, which is no folder")
    return folder


@pytest.fixture(scope="session")
def moto() -> Iterator[servers.Moto]:
    """An S3 server without buckets; make your own."""
    with servers.moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def web_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all web servers serve; make your own folder in it."""
    return tmp_path_factory.mktemp("web")


@pytest.fixture(scope="session")
def dav_url(web_folder: Path) -> Iterator[str]:
    """wsgidav: WebDAV and ranges."""
    with servers.dav_server(web_folder) as url:
        yield url


@pytest.fixture(scope="session")
def nginx_dav_url(web_folder: Path) -> Iterator[str]:
    """Nginx with PROPFIND."""
    yield from _nginx(web_folder, webdav=True)


@pytest.fixture(scope="session")
def nginx_url(web_folder: Path) -> Iterator[str]:
    """Nginx with directory pages and ranges, without WebDAV."""
    yield from _nginx(web_folder, webdav=False)


def _nginx(web_folder: Path, *, webdav: bool) -> Iterator[str]:
    if missing := servers.nginx_missing(webdav=webdav):
        pytest.skip(missing)
    with servers.nginx_server(web_folder, webdav=webdav) as url:
        yield url


@pytest.fixture(scope="session")
def python_url(web_folder: Path) -> Iterator[str]:
    """`python -m http.server`."""
    with servers.python_server(web_folder) as url:
        yield url
