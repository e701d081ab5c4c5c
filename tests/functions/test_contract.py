"""The functions behind API Gateway, as any door to the HTTP API."""

from collections.abc import Iterator

import pytest

import archive
import gateway
from http_contract import CatalogueContract, Door, HttpContract, door_at, odd_series
from lambdas import Functions, Invoked

ROUTES = {
    "/health": "index",
    **{f"/series/{{series}}/{name}": name for name in ("mosaic", "image", "index")},
    "/series/{series}/contrast-mosaic": "contrast_mosaic",
    **dict.fromkeys(
        ("/series", "/series/{series}", "/series/{series}/volumes", "/studies/{study}"), "series"
    ),
}


@pytest.fixture(scope="module")
def address(functions: Functions, provided: archive.Archive) -> Iterator[str]:
    """The address of an API that anyone may call."""
    odd = odd_series()
    provided.put({f"{odd.name}/{name}": data for name, data in odd.objects.items()})
    routes = [
        gateway.Route(f"{method} {path}", Invoked(functions[name]), "NONE")
        for path, name in ROUTES.items()
        for method in ("GET", "HEAD")
    ]
    with gateway.HttpServer(gateway.Gateway(routes, {}).answer) as server:
        yield server.url


class TestHttp(HttpContract, CatalogueContract):
    """The functions keep the rules of the HTTP API."""

    @pytest.fixture
    def door(self, address: str) -> Door:
        """The API."""
        return door_at(address)
