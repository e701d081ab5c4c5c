import asyncio
import logging
from typing import Any

import pytest

from dicom_series_preview.base.discreet import digest_of
from dicom_series_preview.doors.server.access_log import AccessLog


def logged(caplog: pytest.LogCaptureFixture, level: int = logging.INFO, **scope: Any) -> list[str]:
    """The lines of one request, that takes 250 ms."""
    times = iter((10.0, 10.25))

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [
            (b"content-type", b"image/webp"),
            (b"preview-index", b"cache"),
            (b"preview-render", b"made"),
            (b"preview-requests", b"list=1, get=36"),
            (b"preview-series", b"Mustermann-Erika"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"12345"})

    async def ignore(_message: Any) -> None:
        pass

    caplog.clear()
    with caplog.at_level(level, logger="dicom_series_preview"):
        asked = {"type": "http", "method": "GET", "path": "/", **scope}
        asyncio.run(AccessLog(app, lambda: next(times))(asked, ignore, ignore))
    return [record.getMessage() for record in caplog.records]


def test_an_answer_is_a_line_without_names(caplog: pytest.LogCaptureFixture) -> None:
    """What was asked, of which series by digest, the status, bytes, time and cost; no name and no query."""
    lines = logged(
        caplog,
        path="/series/Mustermann-Erika/mosaic",
        raw_path=b"/series/Mustermann%2DErika/mosaic",
        query_string=b"contrast=Mustermann",
    )
    digest = digest_of("Mustermann-Erika")
    cost = "index cache, render made, requests list=1, get=36"
    assert lines == [f"GET mosaic of series {digest}: 200, 5 bytes, 250 ms, {cost}"]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/health", "GET health"),
        ("/series", "GET the catalogue"),
        ("/studies/Mustermann-Erika", "GET a study"),
        ("/series/Mustermann-Erika", f"GET series {digest_of('Mustermann-Erika')}"),
        ("/series/Mustermann-Erika/volumes", f"GET volumes of series {digest_of('Mustermann-Erika')}"),
        ("/series/x/Mustermann-Erika", "GET no resource"),
        ("/Mustermann-Erika/x/mosaic", "GET no resource"),
        ("/", "GET the front page"),
    ],
)
def test_paths_that_are_no_resource_are_not_told(
    path: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of what is no resource nothing of the path is told, as it may hold anything."""
    (line,) = logged(caplog, path=path)
    assert line.startswith(f"{told}: 200, ")
    (line,) = logged(caplog, path=path, method="MUSTERMANN")
    assert line.startswith("another method ")


def test_it_is_said_with_v_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Where warnings alone are logged there are no lines."""
    assert logged(caplog, level=logging.WARNING, path="/health") == []
