"""The command `serve`: the local server."""

from __future__ import annotations

import gc
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.base.settings import (
    DEFAULT_ROOT,
    HASH_KEY_VARIABLE,
    IDENTIFIER_MODES,
    IDENTIFIERS_VARIABLE,
    SERVED_BYTES,
    TOKEN_VARIABLE,
    Identifiers,
    Limits,
    Settings,
)
from dicom_series_preview.doors.cli.console import log, say
from dicom_series_preview.doors.cli.declare import CACHE_DIR, ROOT, VERBOSE, Command
from dicom_series_preview.doors.cli.stopping import status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dicom_series_preview.web.http.api import PreviewApi

    class RunServer(Protocol):
        """Serves an API until interrupted; see `doors.server.serving.serve`."""

        def __call__(
            self,
            api: PreviewApi,
            address: tuple[str, int],
            *,
            started: Callable[[int, bool], None],
            hosts: Sequence[str] = (),
            token: str | None = None,
        ) -> None:
            """Serve the API at an address."""


# Nobody waits longer for an answer.
_SERVED_S = 300.0


@click.command(
    cls=Command,
    name="serve",
    examples=(
        "dicom-series-preview serve --root /data/dicom",
        "curl -o mosaic.webp 'http://127.0.0.1:8080/series/SERIES/mosaic?contrast=lung'",
    ),
)
@ROOT
@click.option(
    "--alias",
    multiple=True,
    metavar="NAME=ROOT",
    help="Another root, chosen by ?root=NAME.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--allow-host",
    multiple=True,
    metavar="NAME",
    help="Another name or address that the server is called by, as behind a proxy.",
)
@click.option(
    "--token",
    envvar=TOKEN_VARIABLE,
    metavar="TOKEN",
    help=f"What callers must send: Authorization: Bearer TOKEN.  [default: ${TOKEN_VARIABLE}]",
)
@click.option(
    "--identifiers",
    type=click.Choice(IDENTIFIER_MODES),
    help="What the catalogue shows of patients' identifiers; hash needs a key in "
    f"{HASH_KEY_VARIABLE}.  [default: ${IDENTIFIERS_VARIABLE}, or drop]",
)
@click.option("--follow-links", is_flag=True, help="Let links lead out of a root that is a folder.")
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on."
)
@CACHE_DIR
@VERBOSE
@click.pass_obj
def serve(run_server: RunServer, /, host: str, port: int, **options: Any) -> None:  # noqa: ANN401 - as click passes it
    """Serve previews over HTTP, with the routes of the serverless application."""
    from dicom_series_preview.web.http.local import open_api  # noqa: PLC0415 - loads numpy and pyarrow

    token = _token(options["token"], os.environ)
    roots = {"default": DEFAULT_ROOT if options["root"] is None else options["root"]}
    for alias in options["alias"]:
        name, _, root = alias.partition("=")
        # A name is a part of URLs and cache paths.
        if not re.fullmatch("[a-z0-9-]+", name) or not root:
            raise RequestError("alias", f"{alias!r} is not NAME=ROOT with a name of a-z, 0-9 and -")
        if name in roots:
            raise RequestError("alias", f"{name!r} is named already")
        roots[name] = root
    log(verbose=options["verbose"])
    # A process that runs for days needs garbage collection, but rarely: scanning all parts of an index stops
    # every thread for seconds.
    gc.enable()
    gc.set_threshold(20_000, 10, 100)
    limits = replace(Limits.for_memory(SERVED_BYTES), seconds=_SERVED_S)
    identifiers = {IDENTIFIERS_VARIABLE: options["identifiers"]} if options["identifiers"] else {}
    settings = Settings.from_environment(
        {**os.environ, **identifiers},
        Path(options["cache_dir"]) if options["cache_dir"] else None,
        Settings(Path(), limits=limits, identifiers=Identifiers("drop")),
    )
    api = open_api(roots, settings, os.environ, follow_links=options["follow_links"])
    shown = f"[{host}]" if ":" in host else host

    def started(port: int, is_open: bool) -> None:  # noqa: FBT001 - the server calls it
        say(f"serving {', '.join(roots.values())} at http://{shown}:{port}/series/SERIES/mosaic")
        if is_open:
            say(open_warning(host))

    try:
        run_server(api, (host, port), started=started, hosts=options["allow_host"], token=token)
    except KeyboardInterrupt as interrupt:
        # This is the normal way to stop a server: print nothing.
        raise SystemExit(status_of(interrupt)) from None


def open_warning(host: str) -> str:
    """Return the warning that other users than this machine's are served without authentication."""
    return (
        f"warning: whoever reaches {host} can see every series of these roots, for there is no "
        f"authentication; --token or {TOKEN_VARIABLE} sets a token that callers must send"
    )


def _token(given: str | None, environment: Mapping[str, str]) -> str | None:
    """Return the token that callers must send, or None."""
    if given is None:
        # A set but empty variable, as after a failed $(cat secret), must not open the server to all.
        given = environment.get(TOKEN_VARIABLE)
    # RFC 6750 2.1: the characters that the header allows.
    if given is not None and not re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", given):
        raise RequestError(
            "token", "is made of letters, digits and - . _ ~ + / alone; make one with openssl rand -hex 32"
        )
    return given
