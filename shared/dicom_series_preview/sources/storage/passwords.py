"""The credentials for a web server: a token from the environment, or a password from `.netrc`."""

from __future__ import annotations

import base64
import logging
import netrc
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.base.settings import HTTP_TOKENS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

NETRC_VARIABLE = "NETRC"
# The characters of a bearer token (RFC 6750).
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_PORTS = {"http": 80, "https": 443}


def authorization_for(url: str, environment: Mapping[str, str]) -> str | None:
    """Return the `Authorization` header for the server of a URL only; None where there is none.

    Args:
        url: A root's URL.
        environment: `DICOM_SERIES_PREVIEW_HTTP_TOKENS` has `TOKEN@HOST`, for HTTPS's port, or
            `TOKEN@HOST:PORT`, separated by semicolons. `NETRC` names the file, else it is `.netrc` in the
            home folder; its `default` entry, which names no server, is not used.

    Raises:
        RequestError: The variable has another form.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    tokens = _tokens(environment)
    token = tokens.get((host, parts.port or _PORTS[parts.scheme]))
    if token is None and parts.scheme == "https" and parts.port in (None, _PORTS["https"]):
        token = tokens.get((host, None))
    return f"Bearer {token}" if token else _password(host, environment)


def _tokens(environment: Mapping[str, str]) -> dict[tuple[str, int | None], str]:
    """Return the variable's tokens by host and port; those without a port are for HTTPS alone."""
    tokens: dict[tuple[str, int | None], str] = {}
    for entry in filter(None, environment.get(HTTP_TOKENS_VARIABLE, "").split(";")):
        token, _, place = entry.strip().rpartition("@")
        try:
            named = urlsplit(f"//{place}")
            host, port = named.hostname, named.port
        except ValueError:
            host, port = None, None
        if not host or named.path or not _TOKEN.fullmatch(token):
            # Its value is a secret, and stays one.
            raise RequestError(HTTP_TOKENS_VARIABLE, "is TOKEN@HOST or TOKEN@HOST:PORT, several joined by ;")
        tokens[host, port] = token
    return tokens


def _password(host: str, environment: Mapping[str, str]) -> str | None:
    """Return a host's user and password from the `.netrc` file, as Basic authentication (RFC 7617)."""
    home = environment.get("HOME") or environment.get("USERPROFILE")
    path = environment.get(NETRC_VARIABLE) or (home and Path(home, ".netrc"))
    if not path or str(path) == os.devnull:
        return None
    try:
        # Opening a pipe would block.
        if not stat.S_ISREG(Path(path).stat().st_mode):
            logger.warning("the .netrc file is not used: it is no file")
            return None
        # Host names ignore case (RFC 4343).
        known = {name.lower(): entry for name, entry in netrc.netrc(str(path)).hosts.items()}
    except FileNotFoundError:
        return None
    except netrc.NetrcParseError as error:
        # The error's own text can quote a password.
        logger.warning("the .netrc file is not used: its line %s cannot be read", error.lineno)
        return None
    except (OSError, UnicodeError) as error:
        logger.warning("the .netrc file is not used: %s", type(error).__name__)
        return None
    # `default` names no server in particular.
    if host == "default" or host not in known:
        return None
    user, _, password = known[host]
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
