import asyncio
import json
from typing import Any

import pytest

from dicom_series_preview.doors.server.guard import Guard

CAME_TO = ("192.0.2.7", 8080)


def asked(
    headers: list[tuple[bytes, bytes]], *, hosts: tuple[str, ...] = (), token: str | None = None
) -> Any:
    """The status and headers of what a guarded application answers, and its problem."""
    sent: list[dict[str, Any]] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "headers": headers, "server": CAME_TO}
    asyncio.run(Guard(app, hosts, token)(scope, None, send))
    return sent[0]["status"], dict(sent[0]["headers"]), json.loads(sent[1]["body"])


def host(value: bytes) -> list[tuple[bytes, bytes]]:
    """A request's headers."""
    return [(b"accept", b"*/*"), (b"host", value)]


@pytest.mark.parametrize(
    "value",
    [
        *(b"localhost", b"LOCALHOST:8080", b"localhost.", b"localhost.:80", b"127.0.0.1", b"127.8.9.1:1"),
        *(b"[::1]", b"[::1]:8080", b"[0:0:0:0:0:0:0:1]", b"[::ffff:127.0.0.1]:80"),
        *(b"192.0.2.7", b"192.0.2.7:99", b"preview.example.org", b"Preview.Example.ORG.:8443"),
        *(b"[2001:db8::1]", b"[2001:0DB8:0::1]:80"),
    ],
)
def test_hosts_that_are_ours(value: bytes) -> None:
    """The loopback by any name, the address a connection came to and the hosts that were named are served."""
    assert asked(host(value), hosts=("preview.example.org", "2001:DB8::1"))[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        *(host(b"attacker.example"), host(b"attacker.example:8080"), host(b"127.0.0.1.attacker.example")),
        *(host(b"localhost.attacker.example"), host(b"attacker.localhost"), host(b"xlocalhost"), host(b"")),
        *(host(b"192.0.2.8"), host(b"0.0.0.0"), host(b"2130706433"), host(b"127.1"), host(b"[::2]")),
        *(host(b"localhost@attacker.example"), host(b"attacker@localhost"), host(b"localhost/x")),
        *(
            host(b"localhost attacker.example"),
            host(b"localhost:8080:1"),
            host(b"localhost:x"),
            host(b"[::1"),
        ),
        *(host(b"::1"), host(b"[localhost]"), host(b"loc\xe4lhost"), host(b"localhost..")),
        [],
        [(b"host", b"localhost"), (b"host", b"attacker.example")],
    ],
)
def test_other_hosts(headers: list[tuple[bytes, bytes]]) -> None:
    """A request for any other host, for none or two, is misdirected; the answer says what allows it."""
    status, _, problem = asked(headers, hosts=("preview.example.org",))
    assert (status, problem["status"]) == (421, 421)
    assert problem["type"] == "urn:dicom-series-preview:problem:no-such-host"
    assert "--allow-host" in problem["detail"]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ([b"Bearer abc"], 200),
        ([b"bearer abc"], 200),
        ([b"BEARER  abc "], 200),
        ([], 401),
        ([b"Bearer"], 401),
        ([b"Bearer "], 401),
        ([b"Bearer ab"], 401),
        ([b"Bearer abcd"], 401),
        ([b"Bearer ABC"], 401),
        ([b"Bearer \xff"], 401),
        ([b"Basic abc"], 401),
        ([b"abc"], 401),
        ([b"Bearer abc", b"Bearer x"], 401),
    ],
)
def test_token(given: list[bytes], status: int) -> None:
    """Where there is a token, nothing is answered without it, and the answer says how it is sent."""
    headers = host(b"localhost") + [(b"authorization", value) for value in given]
    got, fields, problem = asked(headers, token="abc")
    assert got == status
    if status == 401:
        assert fields[b"www-authenticate"] == b"Bearer"
        assert problem["type"] == "urn:dicom-series-preview:problem:unauthorized"
        assert "abc" not in json.dumps(problem)


def test_a_host_is_asked_before_the_token() -> None:
    """A page of a stranger learns nothing of tokens."""
    assert asked(host(b"attacker.example"), token="abc")[0] == 421
