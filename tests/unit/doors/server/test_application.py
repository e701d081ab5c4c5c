import asyncio
import json
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import make_dicom
import planted
from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.archive.names import index_folder, index_path
from dicom_series_preview.base.errors import NoCatalogueError
from dicom_series_preview.base.settings import Limits, Settings
from dicom_series_preview.doors.server.application import application
from dicom_series_preview.doors.server.asgi import Application
from dicom_series_preview.doors.server.guard import Guard
from dicom_series_preview.doors.server.targets import Targets
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.web.http.api import PreviewApi
from dicom_series_preview.web.http.local import open_api

SECRET = "Zwiebelfisch^Leonora"
OBJECTS = {
    f"{folder}/{i}.dcm": make_dicom.encode(make_dicom.image(i, **planted.PATIENT))
    for folder in ("S", "a/b")
    for i in (1, 2)
}


@dataclass
class Answer:
    """What an application sent."""

    status: int
    headers: dict[str, str]
    body: bytes


def api() -> PreviewApi:
    """An API over a series in memory."""
    service = PreviewService(
        MemoryStorage(OBJECTS), IndexCache(MemoryStorage()), Limits(), single_flight=True
    )
    return PreviewApi({"default": lambda: service})


async def ask(
    served: Application,
    path: bytes,
    *,
    query: bytes = b"",
    headers: list[tuple[bytes, bytes]] | None = None,
    method: str = "GET",
    body: bytes = b"",
) -> Answer:
    """Ask an application as a server does."""
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "method": method,
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "headers": headers or [],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await served(scope, receive, send)
    named = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    got = Answer(sent[0]["status"], named, b"".join(message.get("body", b"") for message in sent[1:]))
    planted.check_answer(got.headers, got.body)
    return got


def answer(path: str, **options: Any) -> Answer:
    """What the API answers."""
    return asyncio.run(ask(application(api()), path.encode(), **options))


@pytest.mark.parametrize("path", ["/series", "/studies/1.2.840.99.1"])
@pytest.mark.parametrize("query", [b"", b"root=default,other", b"root=none"])
def test_the_catalogue_waits_for_no_root(path: str, query: bytes) -> None:
    """A search runs in a thread of the catalogue's own, whatever roots it names, and delays no other."""
    threads = []

    def opened() -> Any:
        threads.append(threading.current_thread())
        raise NoCatalogueError("memory://cache")

    served = application(replace(api(), catalogue=opened))
    got = asyncio.run(ask(served, path.encode(), query=query))
    assert (got.status, json.loads(got.body)["type"].rpartition(":")[2]) == (404, "no-catalogue")
    assert [thread is threading.main_thread() for thread in threads] == [False]


def test_the_front_page() -> None:
    """A person who opens the server's address sees what it is, every route, and where to read on."""
    got = answer("/")
    assert (got.status, got.headers["content-type"]) == (200, "text/html; charset=utf-8")
    page = got.body.decode()
    described = json.loads(answer("/openapi.json").body)
    assert f"dicom-series-preview {described['info']['version']}" in page
    assert all(f"<code>GET {path}" in page for path in described["paths"])
    assert {"openapi.json", "health"} < set(re.findall('href="([^"]+)"', page))
    assert answer("/", method="HEAD").body == b""
    assert (answer("/", method="POST").status, answer("/nowhere").status) == (405, 404)


TARGETS = {
    b"http://localhost/series/S/mosaic": 200,
    b"HTTP://127.0.0.1:8080/series/a%2Fb/index": 200,
    b"http://localhost": 200,
    b"https://localhost/nowhere": 404,
    b"http://evil.example/series/S/mosaic": 421,
    b"http://localhost@evil.example/health": 421,
    b"ftp://localhost/health": 404,
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_may_be_absolute(target: bytes) -> None:
    """A target with the server's address is that path, and its host is the one that counts."""
    served = Targets(Guard(application(api())))
    assert asyncio.run(ask(served, target, headers=[(b"host", b"localhost")])).status == TARGETS[target]


def test_the_description_is_of_what_is_served() -> None:
    """There are no batches here, and the description lists none."""
    paths = json.loads(answer("/openapi.json").body)["paths"]
    assert not [path for path in paths if "batches" in path]
    assert answer("/batches", method="POST").status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_other_methods(method: str) -> None:
    """There is nothing but GET and HEAD, and whoever tries is told so."""
    got = answer("/series/S/index", method=method)
    assert (got.status, got.headers["allow"]) == (405, "GET, HEAD")
    assert answer("/nowhere", method=method).status == 404


def test_head_of_what_has_not_changed() -> None:
    """304 has no body, and so no length, by whatever method."""
    served = application(api())
    for method in ("GET", "HEAD"):
        headers = [(b"if-none-match", b"*")]
        got = asyncio.run(ask(served, b"/series/S/mosaic", method=method, headers=headers))
        assert (got.status, got.body, "content-length" in got.headers) == (304, b"", False)


def test_a_range_is_ignored() -> None:
    """Whoever asks for a part of a picture gets the whole."""
    served = application(api())
    whole = asyncio.run(ask(served, b"/series/S/mosaic"))
    part = asyncio.run(ask(served, b"/series/S/mosaic", headers=[(b"range", b"bytes=0-9")]))
    assert (part.status, part.body) == (200, whole.body)


def test_headers_and_bodies_may_be_any_bytes() -> None:
    """A header that is no UTF-8 and a body that nobody asked for do no harm."""
    headers = [(b"accept", b"image/\xff, */*"), (b"x-name", b"Sch\xe4del")]
    got = answer("/series/S/mosaic", headers=headers, body=b"\xff" * 100_000)
    assert (got.status, got.headers["content-type"]) == (200, "image/webp")


def test_repeated_headers_are_one_list() -> None:
    """Tags in several headers count together."""
    served = application(api())
    tag = asyncio.run(ask(served, b"/series/S/index")).headers["etag"].encode()
    headers = [(b"if-none-match", b'"x"'), (b"if-none-match", tag)]
    got = asyncio.run(ask(served, b"/series/S/index", headers=headers))
    assert (got.status, got.body) == (304, b"")
    assert "content-type" not in got.headers


def test_requests_at_once_do_not_mix() -> None:
    """Each of many requests at once gets what it asked for."""
    served = application(api())

    async def all_at_once() -> list[Answer]:
        await ask(served, b"/series/S/index")
        query = b"position=0&format=png&image_width=%d"
        return await asyncio.gather(
            *(ask(served, b"/series/S/image", query=query % width) for width in range(10, 200))
        )

    answers = asyncio.run(all_at_once())
    assert [got.status for got in answers] == [200] * 190
    # A PNG says its width in its header.
    assert [int.from_bytes(got.body[16:20], "big") for got in answers] == list(range(10, 200))


@pytest.fixture
def roots(tmp_path: Path) -> dict[str, str]:
    """Two roots with a series of one name, by alias."""
    for root in ("one", "two", "one/more"):
        (tmp_path / root / "S").mkdir(parents=True)
        (tmp_path / root / "S" / "1.dcm").write_bytes(OBJECTS["S/1.dcm"])
    return {"default": str(tmp_path / "one"), "more": str(tmp_path / "two")}


def served_from(tmp_path: Path, roots: dict[str, str], **settings: Any) -> Application:
    """An application over folders, with a cache of the test's own."""
    known = replace(Settings.from_environment(os.environ, tmp_path / "c"), **settings)
    return application(open_api(roots, known, os.environ))


def asked(served: Application, path: bytes, **options: Any) -> Answer:
    """What an application answers."""
    return asyncio.run(ask(served, path, **options))


def test_roots_and_their_caches(tmp_path: Path, roots: dict[str, str]) -> None:
    """Each root has indices of its own, and pictures lie together under digests."""
    served = served_from(tmp_path, roots)
    answers = [asked(served, b"/series/S/mosaic", query=query) for query in (b"", b"root=more")]
    assert [got.status for got in answers] == [200, 200]
    assert len({got.headers["etag"] for got in answers}) == 2
    kept = {path.relative_to(tmp_path / "c").as_posix() for path in (tmp_path / "c").rglob("*.parquet")}
    assert kept == {index_path("S", index_folder((tmp_path / root).as_uri())) for root in ("one", "two")}
    assert len(list((tmp_path / "c" / "renders").rglob("*.webp"))) == 2


def test_pictures_do_not_pile_up(tmp_path: Path, roots: dict[str, str]) -> None:
    """However many pictures are asked for, the cache keeps to its room, and the last ones are kept."""
    room = 100_000
    served = served_from(tmp_path, roots, cache_bytes=room)

    def render(width: int) -> str:
        answer = asked(served, b"/series/S/image", query=b"position=0&image_width=%d" % width)
        assert answer.status == 200
        return answer.headers["preview-render"]

    assert {render(width) for width in range(10, 50)} == {"made"}
    taken = [path.stat().st_size for path in (tmp_path / "c").rglob("*") if path.suffix]
    assert sum(-(-size // 4096) * 4096 for size in taken) <= room
    assert render(49) == "kept"
    assert render(10) == "made"


def test_an_answer_has_no_limit_of_lambdas(tmp_path: Path) -> None:
    """A picture, or an index as text, of more than the 4.5 MB that API Gateway passes is answered here."""
    (tmp_path / "root" / "S").mkdir(parents=True)
    noise = np.random.default_rng(1).integers(0, 256, (2400, 2400), dtype=np.uint8)
    pixels = {"PixelData": noise.tobytes(), "Rows": 2400, "Columns": 2400}
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "RescaleIntercept": 0.0}
    files = {
        "1.dcm": make_dicom.image(1, PixelSpacing=None, **pixels, **bits),
        "2.dcm": make_dicom.image(2, TextValue="n" * 5_000_000),
    }
    for name, image in files.items():
        (tmp_path / "root" / "S" / name).write_bytes(make_dicom.encode(image))
    served = served_from(tmp_path, {"default": str(tmp_path / "root")})
    query = b"position=0&image_width=2400&quality=100&format=jpeg&contrast=255/127"
    picture = asked(served, b"/series/S/image", query=query)
    index = asked(served, b"/series/S/index", query=b"format=jsonl")
    assert (picture.status, index.status) == (200, 200)
    assert len(picture.body) > 4_500_000
    assert len(index.body) > 4_500_000


def test_an_aliass_series_is_no_deeper_series_of_the_default_root(
    tmp_path: Path, roots: dict[str, str]
) -> None:
    """Series `S` of the root `more` and series `more/S` of the default root leave each other's index."""
    served = served_from(tmp_path, roots)
    wanted = [(b"/series/more%2FS/index", b""), (b"/series/S/index", b"root=more")]
    answers = [asked(served, path, query=query) for path, query in wanted * 2]
    assert [got.headers["preview-index"] for got in answers] == ["built", "built", "cache", "cache"]


def test_an_alias_that_gets_another_root_shows_that_roots_series(
    tmp_path: Path, roots: dict[str, str]
) -> None:
    """What was indexed under an alias is found by its root, whatever alias it has now."""
    sources = []
    for alias, root in (("more", "default"), ("more", "more"), ("other", "default")):
        served = served_from(tmp_path, {"default": str(tmp_path), alias: roots[root]})
        answer = asked(served, b"/series/S/index", query=f"root={alias}".encode())
        sources.append(answer.headers["preview-index"])
    assert sources == ["built", "built", "cache"]


def test_concurrent_requests_on_a_local_cache(tmp_path: Path, roots: dict[str, str]) -> None:
    """Requests at once are answered with the picture, or told to come back; no claim stays."""
    for i in range(2, 9):
        (tmp_path / "one" / "S" / f"{i}.dcm").write_bytes(make_dicom.encode(make_dicom.image(i)))
    served = served_from(tmp_path, roots)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: asked(served, b"/series/S/mosaic"), range(8)))
    assert {got.status for got in answers} <= {200, 503}
    assert 200 in {got.status for got in answers}
    assert len({got.body for got in answers if got.status == 200}) == 1
    assert not list((tmp_path / "c").rglob("*.lock"))


def test_a_killed_servers_claims_keep_nobody_out(tmp_path: Path, roots: dict[str, str]) -> None:
    """What a server that was killed was building is built at once by the next one."""
    kept = tmp_path / "c" / index_path("S", index_folder((tmp_path / "one").as_uri()))
    kept.parent.mkdir(parents=True)
    claim = kept.with_name(f"{kept.name}.lock")
    claim.write_text(json.dumps({"until": time.time() + 50, "holder": "0" * 32}))
    assert asked(served_from(tmp_path, roots), b"/series/S/mosaic").status == 200
