from __future__ import annotations

import pytest
import urllib3

from dicom_series_preview.storage.connections import connection_pool
from servers import Answer, ScriptedServer


def proxy_of(url: str, environment: dict[str, str]) -> str | None:
    """The proxy's address, or None for a direct connection."""
    with connection_pool(url, environment, 4) as pool:
        return pool.proxy.url if isinstance(pool, urllib3.ProxyManager) and pool.proxy else None


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("http://h/x", {}, None),
        ("http://h/x", {"http_proxy": "http://p:1"}, "http://p:1"),
        ("http://h/x", {"HTTP_PROXY": "p:1"}, "http://p:1"),
        ("https://h/x", {"HTTP_PROXY": "p:1"}, None),
        ("https://h/x", {"ALL_PROXY": "p:1"}, "http://p:1"),
        ("https://h/x", {"HTTPS_PROXY": "p:1", "NO_PROXY": "other, h"}, None),
        ("https://a.h/x", {"HTTPS_PROXY": "p:1", "NO_PROXY": ".h"}, None),
        ("https://ah/x", {"HTTPS_PROXY": "p:1", "NO_PROXY": "h"}, "http://p:1"),
        ("https://h/x", {"HTTPS_PROXY": "p:1", "no_proxy": "*"}, None),
    ],
)
def test_proxies(url: str, environment: dict[str, str], proxy: str | None) -> None:
    """The environment names the proxy, and the hosts that go without."""
    assert proxy_of(url, environment) == proxy


def test_proxy_credentials() -> None:
    """A proxy's user and password reach the proxy, in a header."""
    with ScriptedServer([Answer(200)]) as proxy:
        address = proxy.url.replace("//", "//user:word@")
        with connection_pool("http://h.invalid/x", {"http_proxy": address}, 1) as pool:
            pool.request("GET", "http://h.invalid/x")
        assert proxy.asked[0].path == "http://h.invalid/x"
        assert proxy.asked[0].headers["proxy-authorization"] == "Basic dXNlcjp3b3Jk"
