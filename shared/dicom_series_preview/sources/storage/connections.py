"""HTTP connections (urllib3) through the proxy that the environment names."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from dicom_series_preview.base.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult

_DEFAULT_PORTS = {"http": 80, "https": 443}
_PROXIES = ("http", "https", "all", "no")


def connection_pool(
    url: str, environment: Mapping[str, str], concurrency: int, ca_bundle: str | None = None
) -> urllib3.PoolManager:
    """Open a pool of connections for the host of `url`.

    Args:
        url: Gives scheme and host.
        environment: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in either case.
        concurrency: Connections to keep open.
        ca_bundle: A file of certificate authorities, or None for the usual ones.

    Raises:
        RequestError: The proxy's address is invalid.
    """
    named = {kind: _variable(environment, f"{kind}_proxy") for kind in _PROXIES}
    parts = urlsplit(url)
    proxy = named.get(parts.scheme) or named["all"]
    if proxy and not _goes_direct(parts, named["no"]):
        try:
            return _through_proxy(proxy if "://" in proxy else f"http://{proxy}", concurrency, ca_bundle)
        except (HTTPError, ValueError) as error:
            variable = f"{parts.scheme if named.get(parts.scheme) else 'all'}_proxy".upper()
            problem = "holds no proxy's address; give one such as http://proxy.example.org:3128"
            raise RequestError(variable, problem) from error
    return urllib3.PoolManager(maxsize=concurrency, ca_certs=ca_bundle)


def _through_proxy(address: str, concurrency: int, ca_bundle: str | None) -> urllib3.ProxyManager:
    """Open a pool of connections through a proxy."""
    user = urlsplit(address)
    headers = None
    if user.username is not None:
        credentials = f"{user.username}:{user.password or ''}"
        headers = urllib3.make_headers(proxy_basic_auth=credentials)
    return urllib3.ProxyManager(address, proxy_headers=headers, maxsize=concurrency, ca_certs=ca_bundle)


def _goes_direct(parts: SplitResult, no_proxy: str) -> bool:
    """Return True where `NO_PROXY` names the host, a domain or network (CIDR) around it, or everything."""
    host, port = parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme)
    return any(_matches(entry.strip().lower(), host, port) for entry in no_proxy.split(","))


def _matches(entry: str, host: str, port: int | None) -> bool:
    """Return True where an entry of `NO_PROXY` matches a host."""
    if entry == "*":
        return True
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        pass  # a name, or with a port or brackets
    try:
        named = urlsplit(f"//{entry}")
        is_port = named.port in {None, port}
    except ValueError:
        return False
    name = (named.hostname or "").removeprefix("*").lstrip(".")
    return is_port and bool(name) and (host == name or host.endswith(f".{name}"))


def _variable(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name) or environment.get(name.upper()) or ""
