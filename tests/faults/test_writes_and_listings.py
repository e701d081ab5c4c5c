"""Listings and writes whose answers fail: no name is lost, and what was written is known as written."""

from pathlib import Path

import pytest

import faulty
from dicom_series_preview.base.errors import ObjectChangedError, StorageUnavailableError
from dicom_series_preview.base.settings import Settings
from dicom_series_preview.sources.storage.base import Storage
from dicom_series_preview.sources.storage.open import open_storage
from dicom_series_preview.sources.storage.retry import RetryPolicy
from faulty import at_once

RETRIES = 2
SETTINGS = Settings(Path("/nowhere"), concurrency=4, max_retries=RETRIES, request_timeout_s=20.0)
NAMES = [f"S/{i:02}" for i in range(20)]


def opened(server: faulty.FaultyServer, root: str = "s3://bucket") -> Storage:
    """A root that tries again without pauses."""
    policy = RetryPolicy(RETRIES, 60.0, wait=at_once)
    return open_storage(root, SETTINGS, server.environment, retry=policy)


def is_listing(asked: faulty.Asked) -> bool:
    """A page of a listing."""
    return asked.kind == "LIST"


def test_every_page_fails_once() -> None:
    """The tries are each page's own: a listing of many pages stands as many failures."""
    names = [f"S/{i:04}" for i in range(3500)]
    with faulty.FaultyServer() as server:
        server.objects = {f"bucket/{name}": b"1" for name in names}
        server.begin(faulty.first_times(RETRIES, faulty.refused(503, "SlowDown"), is_listing))
        assert [info.path for info in opened(server).list_objects("S")] == names
        assert len(server.tries()) == 4
        assert max(server.tries().values()) == RETRIES + 1


@pytest.mark.parametrize("fault", [faulty.cut_short, faulty.cut_chunks, faulty.reset_in_body])
@pytest.mark.parametrize("webdav", [True, False])
def test_listing_of_a_web_server_is_cut(fault: faulty.Fault, webdav: bool) -> None:  # noqa: FBT001
    """A page that breaks off is asked for again: what came of it would pass for a smaller folder."""
    with faulty.FaultyServer(webdav=webdav) as server:
        server.objects = {f"bucket/{name}": b"1" for name in NAMES}
        storage = opened(server, f"{server.url}/bucket")
        server.begin(faulty.first_times(1, fault, is_listing))
        assert [info.path for info in storage.list_objects("S")] == NAMES
        server.begin(faulty.always(fault, is_listing))
        with pytest.raises(StorageUnavailableError):
            storage.list_objects("S")


LOST = [faulty.reset_at_once, faulty.cut_chunks]


@pytest.mark.parametrize("fault", LOST)
def test_answer_to_a_write_is_lost(fault: faulty.Fault) -> None:
    """What a lost answer left behind is known as one's own: conditions hold as if it had come."""
    with faulty.FaultyServer() as server:
        storage = opened(server)

        def is_write(asked: faulty.Asked) -> bool:
            return asked.kind == "PUT"

        versions = []
        for data, condition in ((b"one", ""), (b"two", None), (b"three", None)):
            server.begin(faulty.first_times(1, fault, is_write))
            wanted = versions[-1] if data == b"three" else condition
            versions.append(storage.put("a", data, if_version=wanted))
            assert storage.get("a").data == data
            assert storage.get("a").version == versions[-1]


def test_write_of_another_is_not_ones_own() -> None:
    """Where another one wrote while the answer was lost, the condition does not hold."""
    with faulty.FaultyServer() as server:

        def overtaken(connection: faulty.Connection, answer: faulty.Answer) -> None:
            server.objects["bucket/a"] = b"another's"
            faulty.reset_at_once(connection, answer)

        server.begin(faulty.first_times(1, overtaken, lambda asked: asked.kind == "PUT"))
        with pytest.raises(ObjectChangedError):
            opened(server).put("a", b"mine", if_version="")
        assert server.objects["bucket/a"] == b"another's"


def test_answer_to_a_deletion_is_lost() -> None:
    """A deletion is done when it is done, whatever became of the answer."""
    with faulty.FaultyServer() as server:
        server.objects = {"bucket/a": b"1"}
        server.begin(faulty.first_times(1, faulty.reset_at_once, lambda asked: asked.kind == "DELETE"))
        opened(server).delete("a")
        assert server.objects == {}
