import socket

import pytest

from dicom_series_preview.base.errors import OutputError, RequestError
from dicom_series_preview.doors.server.serving import is_open, serve
from dicom_series_preview.web.http.api import PreviewApi

API = PreviewApi({})


def announced(_port: int, _is_open: bool) -> None:  # noqa: FBT001
    """Fail."""
    pytest.fail("announced")


def test_an_address_that_cannot_be_listened_on() -> None:
    """A port that is taken or a host that is not there is an error that names it; nothing is announced."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for host, port in (("127.0.0.1", taken.getsockname()[1]), ("no-such-host.invalid", 1)):
            with pytest.raises(OutputError) as caught:
                serve(API, (host, port), started=announced)
            assert caught.value.path == f"{host}:{port}"


@pytest.mark.parametrize("host", ["http://x", "x:80", "1.2.3.4:80", "", "*"])
def test_what_is_no_host(host: str) -> None:
    """A host that the server is called by is a name or an address, without port and path."""
    with pytest.raises(RequestError, match="is no name or address") as caught:
        serve(API, ("127.0.0.1", 0), started=announced, hosts=["preview.example.org", "[::1]", host])
    assert caught.value.parameter == "allow_host"


@pytest.mark.parametrize(
    ("host", "token", "is_told"),
    [
        ("0.0.0.0", None, True),  # noqa: S104 - warned of
        ("192.168.1.7", None, True),
        ("::", None, True),
        ("0.0.0.0", "abc", False),  # noqa: S104
        ("127.0.0.1", None, False),
        ("::1", None, False),
        ("localhost", None, False),
    ],
)
def test_whoever_serves_others_without_a_token_is_told(host: str, token: str | None, is_told: bool) -> None:  # noqa: FBT001
    """A server is open where others than this machine's users reach it and no token is asked for."""
    assert is_open(host, token) == is_told
