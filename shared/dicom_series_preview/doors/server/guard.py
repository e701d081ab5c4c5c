"""A guard that refuses requests with a foreign host name or without the server's token."""

from __future__ import annotations

import hmac
import ipaddress
import re
from typing import TYPE_CHECKING

from dicom_series_preview.doors.server.asgi import send_whole
from dicom_series_preview.web.http.problems import NO_SUCH_HOST, UNAUTHORIZED, plain_response

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dicom_series_preview.doors.server.asgi import Application, Message, Receive, Send
    from dicom_series_preview.web.http.problems import Problem

# RFC 9110 7.2: a name, an IPv4 address or an IPv6 address in brackets, and a port.
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]*)?")


def host_name(host: str) -> str | None:
    """Return the name or address in a Host header, normalised for comparison; None if it is invalid.

    Args:
        host: The header: upper or lower case, with or without port and final dot; IPv6 in brackets.
    """
    found = _HOST.fullmatch(host)
    if found is None:
        return None
    try:
        return str(ipaddress.IPv6Address(found[1])) if found[1] else _plain(found[2])
    except ValueError:
        return None


def is_loopback(name: str) -> bool:
    """Return True where a name or address from `host_name` is this machine's loopback."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or bool(mapped and mapped.is_loopback)


class Guard:
    """Admits requests for this server's own hosts, with the token if there is one.

    A stranger's page can give its own name this machine's address (DNS rebinding): a browser then treats the
    answers as that page's, and sends its name in Host.

    Args:
        app: Answers the requests.
        hosts: Names and addresses of this server, besides the loopback's and the one a connection came to.
        token: The token that callers must send, or None.
    """

    def __init__(self, app: Application, hosts: Iterable[str] = (), token: str | None = None) -> None:
        self._app = app
        self._hosts = frozenset(map(_plain, hosts))
        self._token = None if token is None else token.encode()

    async def __call__(
        self,
        scope: Message,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer an ASGI request."""
        problem = self._problem(scope) if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
            return
        challenge = {"WWW_Authenticate": "Bearer"} if problem is UNAUTHORIZED else {}
        await send_whole(plain_response(problem, **challenge), send)

    def _problem(self, scope: Message) -> Problem | None:
        if not self._is_ours(_values(scope, b"host"), scope.get("server")):
            return NO_SUCH_HOST
        if self._token is not None and not self._knows(_values(scope, b"authorization"), self._token):
            return UNAUTHORIZED
        return None

    def _is_ours(self, hosts: list[bytes], came_to: tuple[str, int | None] | None) -> bool:
        name = host_name(hosts[0].decode("latin-1")) if len(hosts) == 1 else None
        if name is None:
            return False
        return (
            is_loopback(name) or name in self._hosts or (came_to is not None and name == _plain(came_to[0]))
        )

    @staticmethod
    def _knows(values: list[bytes], token: bytes) -> bool:
        scheme, _, given = values[0].partition(b" ") if len(values) == 1 else (b"", b"", b"")
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), token)


def _plain(name: str) -> str:
    """Return a name in lower case without the final dot, or an address in its shortest form."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower().removesuffix(".")


def _values(scope: Message, name: bytes) -> list[bytes]:
    return [value for one, value in scope["headers"] if one == name]
