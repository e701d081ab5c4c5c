"""Refuse requests by a name that is not the server's, and those without its token."""

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
    """The name or address in a Host header, in the one form that names are compared in; None where none is.

    Args:
        host: As it is sent: in any case, with or without port and final dot; IPv6 in brackets.
    """
    found = _HOST.fullmatch(host)
    if found is None:
        return None
    try:
        return str(ipaddress.IPv6Address(found[1])) if found[1] else _plain(found[2])
    except ValueError:
        return None


def is_loopback(name: str) -> bool:
    """True where a name or address, as `host_name` gives it, is this machine to itself."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or bool(mapped and mapped.is_loopback)


class Guard:
    """Lets through requests for this server's own hosts, that bring the token where there is one.

    A stranger's page may give its own name the address of this machine (DNS rebinding): a browser then takes
    the answers for that page's, and says its name in Host.

    Args:
        app: What answers.
        hosts: Names and addresses of this server, besides the loopback's and the one a connection came to.
        token: What callers have to know, or None.
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
        """Answer as ASGI asks."""
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
    """A name in lower case without the final dot, an address in its shortest form."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower().removesuffix(".")


def _values(scope: Message, name: bytes) -> list[bytes]:
    return [value for one, value in scope["headers"] if one == name]
