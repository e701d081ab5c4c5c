"""The HTTP API over local or remote roots with a local cache, for the local server."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.archive.local import cache_storage
from dicom_series_preview.archive.names import index_folder
from dicom_series_preview.archive.uids import SeriesPlaces, places_folder
from dicom_series_preview.base.errors import ObjectNotFoundError, PreviewError
from dicom_series_preview.base.gate import Gate
from dicom_series_preview.base.settings import SERVED_ANSWER_BYTES, SERVED_BYTES, Settings
from dicom_series_preview.products.catalogue.view import CatalogueView
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.sources.storage.open import open_storage
from dicom_series_preview.web.http.api import SEARCHES, PreviewApi
from dicom_series_preview.web.http.renders import Renders

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dicom_series_preview.sources.storage.base import Storage

_LOGGER = logging.getLogger(__name__)
# A root without an answer by then is served anyway.
_LOOK_S = 2.0


def open_api(
    roots: Mapping[str, str], settings: Settings, environment: Mapping[str, str], *, follow_links: bool = True
) -> PreviewApi:
    """Open the HTTP API over some roots, with a local cache for indices and pictures.

    Args:
        roots: The URLs of roots by alias.
        settings: Concurrency, retries, limits, the cache folder, and how identifiers are shown.
        environment: The variables of credentials and proxies.
        follow_links: Links may lead out of a local root.

    Raises:
        PreviewError: A root is invalid or missing, or the cache folder cannot be created.
    """
    kept = cache_storage(settings, optional=False)
    # Claims of this process: a killed one blocks nobody. Two processes can do the same work twice.
    claims = MemoryStorage(url="memory://claims")
    services: dict[str, Callable[[], PreviewService]] = {}
    urls: dict[str, str] = {}
    gates = {alias: Gate.for_machine(SERVED_BYTES // 2 // len(roots)) for alias in roots}
    for alias, root in roots.items():
        storage = open_storage(root, replace(settings, follow_links=follow_links), environment)
        _check_there(storage)
        service = PreviewService(
            storage,
            IndexCache(kept, index_folder(storage.identity), optional=True, claims=claims),
            settings.limits,
            single_flight=True,
            gate=gates[alias].passage,
            places=SeriesPlaces(kept, places_folder(storage.identity), optional=True),
        )
        services[alias] = partial(replace, service)
        urls[alias] = storage.url
    gates[SEARCHES] = Gate.for_machine(SERVED_BYTES // 4)
    return PreviewApi(
        services,
        Renders(kept, optional=True),
        SERVED_ANSWER_BYTES,
        limit_s=settings.limits.seconds,
        gates=gates,
        catalogue=cache(partial(CatalogueView, kept, urls, settings.identifiers)),
    )


def _check_there(root: Storage) -> None:
    """Refuse a missing root; other faults can pass, and reach the caller.

    Raises:
        ObjectNotFoundError: The folder or bucket does not exist.
    """
    # A web server can hide its root, and still show the series below it.
    if root.immutable or root.url.startswith("http"):
        return
    try:
        root.within(Deadline(_LOOK_S)).list_objects("", 0)
    except ObjectNotFoundError:
        raise
    except PreviewError as error:
        _LOGGER.info("a root cannot be listed as of now: %s", type(error).__name__)
