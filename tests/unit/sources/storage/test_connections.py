import pytest
import urllib3

from dicom_series_preview.sources.storage.connections import connection_pool
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


@pytest.mark.parametrize(
    ("host", "no_proxy", "is_direct"),
    [
        ("127.0.0.1", "127.0.0.0/8", True),
        ("127.0.0.1:9000", "localhost, 127.0.0.1/8", True),
        ("128.0.0.1", "127.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.30", False),
        ("10.1.2.3:9000", "10.1.2.3:9000", True),
        ("10.1.2.3:9001", "10.1.2.3:9000", False),
        ("[fd00::1]:9000", "fd00::/8", True),
        ("[::1]", "::1", True),
        ("[::1]:9000", "[::1]:9000", True),
        ("[::1]", "127.0.0.0/8", False),
        ("s3.example.org", "127.0.0.0/8", False),
        ("s3.example.org", "*.example.org", True),
        ("s3.example.org", "*.Example.org:443", True),
        ("s3.example.org", ".example.org:80", False),
        ("s3.example.org:8443", "example.org:8443", True),
        ("s3.example.org", "10.0.0.0/99, [, example.org:x, :443, ., ,", False),
    ],
)
def test_no_proxy(host: str, no_proxy: str, *, is_direct: bool) -> None:
    """NO_PROXY names hosts, domains, addresses and networks; what is none of these is passed over."""
    proxy = proxy_of(f"https://{host}/x", {"HTTPS_PROXY": "p:1", "NO_PROXY": no_proxy})
    assert (proxy is None) == is_direct


def test_proxy_credentials() -> None:
    """A proxy's user and password reach the proxy, in a header."""
    with ScriptedServer([Answer(200)]) as proxy:
        address = proxy.url.replace("//", "//user:word@")
        with connection_pool("http://h.invalid/x", {"http_proxy": address}, 1) as pool:
            pool.request("GET", "http://h.invalid/x")
        assert proxy.asked[0].path == "http://h.invalid/x"
        assert proxy.asked[0].headers["proxy-authorization"] == "Basic dXNlcjp3b3Jk"
