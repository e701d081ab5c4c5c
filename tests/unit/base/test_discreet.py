"""What logs may tell."""

import asyncio
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import doubles
import planted
import servers
from dicom_series_preview.base.discreet import digest_of, quiet_libraries, texts_withheld, told
from dicom_series_preview.base.errors import (
    AccessDeniedError,
    ObjectNotFoundError,
    RequestError,
    StorageError,
)
from dicom_series_preview.base.settings import Settings
from dicom_series_preview.doors.aws.environment import Deployment
from dicom_series_preview.doors.aws.guarded import guarded
from dicom_series_preview.doors.aws.rechecks import Recheck
from dicom_series_preview.doors.aws.updates import update_indices
from dicom_series_preview.doors.server.application import application
from dicom_series_preview.sources.storage.base import ByteRange, Storage
from dicom_series_preview.sources.storage.failures import storage_error
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.sources.storage.open import open_storage

SECRET = "Mustermann-Erika in planted-bucket: Zwiebelfisch^Leonora"


@pytest.fixture
def levels() -> Iterator[None]:
    """The levels of the libraries' loggers as they were before."""
    names = ("urllib3", "botocore", "boto3", "pydicom", "PIL")
    before = {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings():
        yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def test_planted_values_in_the_log_are_found() -> None:
    """The tests' own watch sees what any logger says, its trace too."""
    with planted.watched_log() as lines:
        logging.getLogger("dicom_series_preview.somewhere").debug("%s was read", planted.FOLDERS[0])
        try:
            {}[SECRET]
        except KeyError:
            logging.getLogger("uvicorn.error").exception("failed")
        logging.getLogger("uvicorn.error").warning("nothing of that kind")
    assert len(lines) == 2
    for headers, body in (({"X": SECRET}, b""), ({}, SECRET.encode())):
        with pytest.raises(AssertionError):
            planted.check_answer(headers, body)
    planted.check_answer({"Location": "https://preview-data.example/x"}, b"")


def test_a_digest_tells_two_series_apart() -> None:
    """A series is called the same in every line, and by nothing that can be read."""
    assert digest_of("a") == digest_of("a") != digest_of("b")
    assert len(digest_of("\udcff")) == 12


def test_what_is_told_of_an_exception() -> None:
    """Of an exception its type and places are told, and nothing of its text or its cause's."""
    try:
        try:
            {}[SECRET]
        except KeyError as cause:
            raise ValueError(SECRET) from cause
    except ValueError as error:
        text = told(error)
    assert text.startswith("ValueError\n")
    assert "test_discreet.py" in text
    assert "Erika" not in text


def test_texts_are_withheld(caplog: pytest.LogCaptureFixture) -> None:
    """An error of the product is raised by its type, any other by its type's name, and that is logged."""
    with pytest.raises(ObjectNotFoundError) as known, texts_withheld():
        raise ObjectNotFoundError(SECRET, SECRET)
    assert str(known.value) == "ObjectNotFoundError"
    assert not caplog.records
    with pytest.raises(Exception, match=r"^KeyError$") as unknown, texts_withheld():
        raise KeyError(SECRET)
    assert type(unknown.value).__name__ == "KeyError"
    assert (unknown.value.__cause__, unknown.value.__suppress_context__) == (None, True)
    assert "KeyError" in caplog.text
    with pytest.raises(RequestError, match="PREVIEW_DATA: is not set"), texts_withheld(RequestError):
        raise RequestError("PREVIEW_DATA", "is not set")


def test_every_handler_withholds_texts(caplog: pytest.LogCaptureFixture) -> None:
    """Lambda logs what a handler raises, and a state machine keeps it: both are told the type alone."""

    def handler(_event: Any, _context: Any) -> dict[str, Any]:
        raise LookupError(SECRET)

    with pytest.raises(Exception, match=r"^LookupError$"):
        guarded(lambda: handler)({}, None)

    def broken() -> Any:
        raise StorageError(SECRET, SECRET)

    with pytest.raises(StorageError, match=r"^StorageError$"):
        guarded(broken)
    assert "Erika" not in caplog.text


def test_the_server_withholds_texts(caplog: pytest.LogCaptureFixture) -> None:
    """What goes wrong around the routes reaches the server's log by its type alone."""

    class Broken:
        services: Any = ()
        gates: Any = MappingProxyType({})
        limit_s = 1.0

        def __getattr__(self, name: str) -> Any:
            return lambda *_args: None

    served = application(Broken())

    async def send(_message: Any) -> None:
        raise OSError(SECRET)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/x",
        "raw_path": b"/x",
        "query_string": b"",
        "headers": [],
    }
    with pytest.raises(Exception, match=r"^OSError$"):
        asyncio.run(served(scope, None, send))
    assert "OSError" in caplog.text
    assert "Erika" not in caplog.text


@pytest.mark.usefixtures("levels")
def test_libraries_log_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Other packages' lines name hosts, objects and header values, and are not logged."""
    caplog.set_level(logging.DEBUG)
    quiet_libraries()
    for name in ("urllib3.connectionpool", "botocore.hooks", "pydicom", "PIL.Image"):
        logging.getLogger(name).error("%s", SECRET)
    assert not caplog.records
    # Most is said by way of warnings.
    warnings.warn_explicit(SECRET, UserWarning, "valuerep.py", 1, module="pydicom.valuerep")


def test_a_root_that_is_none_is_told_by_its_variable() -> None:
    """A deployment whose root or data cannot be one says which variable it is, and not what it holds."""
    roots = {"default": "/nowhere", "odd": "gopher://planted-bucket"}
    deployment = Deployment(roots, "/nowhere/data", 1, {})
    for of, url, variable in (
        (Deployment(roots, "gopher://planted-host", 1, {}), "gopher://planted-host", "PREVIEW_DATA"),
        (deployment, roots["odd"], "PREVIEW_ROOTS"),
    ):
        with pytest.raises(RequestError, match=variable) as caught:
            of.storage(url)
        planted.check("an error", str(caught.value))
    with pytest.raises(RequestError, match="gopher"):
        deployment.storage("gopher://what-the-user-named")


class Deaf:
    """A queue that nobody is told anything by."""

    def send(self, _rechecks: object) -> list[Recheck]:
        """Nothing is left over."""
        return []


def test_an_update_that_fails_names_no_series(caplog: pytest.LogCaptureFixture) -> None:
    """Of a series whose index cannot be updated the log tells how it failed, not its folder or bucket."""
    denied = doubles.refusing(AccessDeniedError("s3://planted-bucket/Mustermann-Erika"))
    refusing = doubles.Before(MemoryStorage(url="s3://planted-bucket"), list_objects=denied)
    data = MemoryStorage(url="s3://preview-data")
    roots = {"default": refusing.url}
    deployment = Deployment(roots, data.url, 1, {}, {refusing.url: refusing, data.url: data})
    event = {"bucket": {"name": "planted-bucket"}, "object": {"key": "Mustermann-Erika/1"}}
    caplog.set_level(logging.DEBUG)
    message = json.dumps({"Records": [{"s3": event}]})
    summary = update_indices({"m": message}, deployment, lambda: 300.0, Deaf())
    assert summary.failed_messages == {"m"}
    assert "AccessDeniedError" in caplog.text
    planted.check("the log", caplog.text)


def opened(url: str, tmp_path: Path, **environment: str) -> Storage:
    """A root as functions open it."""
    settings = Settings(tmp_path, max_retries=0, request_timeout_s=2)
    return open_storage(url, settings, environment, allow_cross_host_redirects=False)


def test_a_server_that_ignores_range_is_warned_of_without_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning that whole objects are transferred names neither server nor folder."""
    with servers.ScriptedServer([servers.Answer(200, body=bytes(9))]) as server:
        storage = opened(f"{server.url}/of-patients", tmp_path)
        (got,) = storage.fetch([ByteRange("Mustermann-Erika/1", 2, 4)])
    assert got.data == bytes(2)
    assert "ignores Range" in caplog.text
    assert server.url not in caplog.text
    planted.check("the log", caplog.text)


@pytest.mark.parametrize(
    "text",
    [
        'Error parsing Path "of-patients//Mustermann-Erika": Path contained empty path segment',
        "The operation lacked the necessary privileges to complete for path of-patients/x: denied",
        "Object at location of-patients/Mustermann-Erika/1 not found: gone",
        "Generic S3 error: Error performing GET https://planted-bucket.s3.amazonaws.com/x in 1s: odd",
    ],
)
def test_what_obstore_says_names_no_object(text: str) -> None:
    """What is told of a storage's error holds neither the root's prefix nor the object's key."""
    problem = storage_error("s3://planted-bucket/x", ValueError(text)).problem
    planted.check("a problem", problem)
    assert problem


def test_what_boto3_says_names_no_bucket(tmp_path: Path) -> None:
    """An endpoint that does not answer is told of without its address, which the bucket is a part of."""
    port = servers.free_port()
    storage = opened(
        "s3://planted-bucket/of-patients",
        tmp_path,
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}",
        AWS_ACCESS_KEY_ID="a",
        AWS_SECRET_ACCESS_KEY="b",
        AWS_REGION="us-east-1",
    )
    with pytest.raises(StorageError) as caught:
        storage.list_folders("Mustermann")
    planted.check("a problem", caught.value.problem)
    assert str(port) not in caught.value.problem
    assert json.dumps(caught.value.problem)
