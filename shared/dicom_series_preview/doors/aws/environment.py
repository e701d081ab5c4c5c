"""The deployment, read once per process from the functions' environment."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.archive.names import DEFAULT_ROOT_ALIAS, index_folder
from dicom_series_preview.archive.uids import SeriesPlaces, places_folder
from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.base.settings import HTTP_TOKENS_VARIABLE, Identifiers, Limits, Settings, number_of
from dicom_series_preview.doors.aws.rechecks import Recheck, SqsQueue, send_all
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.sources.storage.open import open_storage
from dicom_series_preview.sources.storage.roots import parse_root
from dicom_series_preview.web.http.api import PreviewApi
from dicom_series_preview.web.http.renders import Renders

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dicom_series_preview.doors.aws.rechecks import Queue
    from dicom_series_preview.products.catalogue.view import CatalogueView
    from dicom_series_preview.sources.storage.base import Storage

_LOGGER = logging.getLogger(__name__)

ROOTS_VARIABLE = "PREVIEW_ROOTS"
DATA_VARIABLE = "PREVIEW_DATA"
SERIES_DEPTH_VARIABLE = "PREVIEW_SERIES_DEPTH"
SIGNED_BUCKETS_VARIABLE = "PREVIEW_SIGNED_BUCKETS"
AUTH_MODE_VARIABLE = "PREVIEW_AUTH_MODE"
BATCH_SERIES_VARIABLE = "PREVIEW_BATCH_SERIES"
BATCHES_AT_ONCE_VARIABLE = "PREVIEW_BATCHES_AT_ONCE"
MEMORY_VARIABLE = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"
# A function of the HTTP API has 29 s: it must give up a silent storage, and answer, before that.
_REQUEST_TIMEOUT_S = 8.0
_RETRY_TIMEOUT_S = 12.0
_API_LIMIT_S = 20
_ALIAS = re.compile("[a-z0-9-]+")
_SET_WRONG = "{alias} is set up wrong in this deployment; whoever deployed it mends its entry in Roots"
# For callers through something that waits longer than API Gateway.
ANSWER_SECONDS_VARIABLE = "PREVIEW_ANSWER_SECONDS"
BATCH_STATE_MACHINE_VARIABLE = "PREVIEW_BATCH_STATE_MACHINE"
UPDATES_QUEUE_VARIABLE = "PREVIEW_UPDATES_QUEUE"
CATALOGUE_QUEUE_VARIABLE = "PREVIEW_CATALOGUE_QUEUE"
# The summary holds some 3 kB of each outcome; this is half of its function's memory.
BATCH_SERIES = 250_000
BATCHES_AT_ONCE = 5
# The limits of the template's parameters, and Lambda's longest time.
_MOST_DEPTH = 8
_MOST_BATCHES = 100
_MOST_ANSWER_S = 900
# The program, and what one request takes.
_PROGRAM_BYTES = 400 * 2**20
UNKNOWN_MEMORY = 1769 * 2**20


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment's storages and services, each opened on its first use.

    Attributes:
        roots: The URLs of storage roots, by alias.
        refused: Aliases whose root can never be opened.
        data: The URL below which indices, pictures and batches are stored.
        series_depth: The depth of series below a root, in folders; 1 directly below it.
        batch_series: The most series of one batch.
        batches_at_once: The most concurrent batches.
        environment: The process's environment, for credentials and endpoints.
        signed_buckets: Buckets that the function's role may read, besides the default root's and the data's.
            Others are public, and are read unsigned: a role's signature would need a permission that it
            lacks.
        auth_mode: The HTTP API's authorization: `IAM`, `JWT`, `NONE`, or empty if unknown.
        settings: Concurrency, retries, timeouts, and limits that fit the function's memory.
        queue: The queue for reports of vanished objects; None if nobody reads it.
    """

    roots: Mapping[str, str]
    data: str
    series_depth: int = 1
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    _opened: dict[str, Storage] = field(default_factory=dict, repr=False)
    settings: Settings = field(default=Settings(Path("/tmp")), repr=False)  # noqa: S108 - nothing lies there
    signed_buckets: frozenset[str] = frozenset()
    auth_mode: str = ""
    batch_series: int = BATCH_SERIES
    batches_at_once: int = BATCHES_AT_ONCE
    answer_limit_s: int = _API_LIMIT_S
    queue: Queue | None = field(default=None, repr=False)
    refused: frozenset[str] = frozenset()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Deployment:
        """Read a function's environment; leave out a root that can never be opened, and log it.

        Raises:
            RequestError: A variable is missing or wrong.
        """
        try:
            given = json.loads(environment[ROOTS_VARIABLE], object_pairs_hook=_Pairs)
            data = environment[DATA_VARIABLE]
        except KeyError as error:
            raise RequestError(str(error.args[0]), "is not set") from error
        except ValueError as error:
            raise RequestError(ROOTS_VARIABLE, "is no JSON object of aliases and URLs") from error
        if not isinstance(given, _Pairs):
            raise RequestError(ROOTS_VARIABLE, f"needs the alias {DEFAULT_ROOT_ALIAS!r}")
        roots, refused = _roots(given, environment)
        queue = environment.get(UPDATES_QUEUE_VARIABLE)
        arns = environment.get(SIGNED_BUCKETS_VARIABLE, "").split(",")
        return cls(
            roots,
            data,
            _count(environment, SERIES_DEPTH_VARIABLE, 1, _MOST_DEPTH),
            environment,
            settings=_settings(environment),
            signed_buckets=frozenset(arn.rpartition(":")[2] for arn in arns if arn),
            auth_mode=environment.get(AUTH_MODE_VARIABLE, ""),
            batch_series=_count(environment, BATCH_SERIES_VARIABLE, BATCH_SERIES, BATCH_SERIES),
            batches_at_once=_count(environment, BATCHES_AT_ONCE_VARIABLE, BATCHES_AT_ONCE, _MOST_BATCHES),
            answer_limit_s=_count(environment, ANSWER_SECONDS_VARIABLE, _API_LIMIT_S, _MOST_ANSWER_S),
            queue=SqsQueue(queue) if queue else None,
            refused=refused,
        )

    def storage(self, url: str) -> Storage:
        """Open a storage root, once, without redirects to other hosts."""
        if url not in self._opened:
            try:
                self._opened[url] = open_storage(
                    url, self._settings_for(url), self.environment, allow_cross_host_redirects=False
                )
            except RequestError as error:
                known = url == self.data or url in self.roots.values()
                if not known or error.parameter == HTTP_TOKENS_VARIABLE:
                    raise
                # The caller and the log get the variable's name, but not its value.
                variable = DATA_VARIABLE if url == self.data else ROOTS_VARIABLE
                raise RequestError(
                    variable, "holds what is no storage root; give s3://, https:// or a folder"
                ) from None
        return self._opened[url]

    def _settings_for(self, url: str) -> Settings:
        """Return a root's settings: requests to its own and to listed buckets are signed."""
        place = parse_root(url, self.environment).place
        own = place in {
            parse_root(known, self.environment).place for known in (self.data, self.roots[DEFAULT_ROOT_ALIAS])
        }
        settings = replace(self.settings, signed=own or place in self.signed_buckets)
        # Its own buckets lie in its region. Asking would cost a cold start 100 ms each.
        return replace(settings, region=self.environment.get("AWS_REGION")) if own else settings

    def service(self, alias: str) -> PreviewService:
        """Return the service of a root, with the function's time limit.

        Raises:
            RequestError: The alias is unknown, or its root can never be opened.
        """
        if alias in self.refused:
            raise RequestError("root", _SET_WRONG.format(alias=alias))
        if alias not in self.roots:
            raise RequestError("root", f"is one alias of this deployment: {', '.join(sorted(self.roots))}")
        storage = self.storage(self.roots[alias])
        # Earlier versions used the alias, which mixed up roots when aliases changed.
        former = "indices" if alias == DEFAULT_ROOT_ALIAS else f"indices/{alias}"
        # All functions reach the same S3 by any address: the URL alone identifies a root.
        kept = IndexCache(self.storage(self.data), index_folder(storage.url), former, storage.url)
        vanished = None if self.queue is None else partial(self._vanished, self.queue, alias)
        limits = self.settings.limits
        places = SeriesPlaces(self.storage(self.data), places_folder(storage.url))
        return PreviewService(storage, kept, limits, single_flight=True, vanished=vanished, places=places)

    @staticmethod
    def _vanished(queue: Queue, alias: str, series: str) -> None:
        send_all(queue, [(Recheck(alias, series, removed=True), 0)])

    def api(self) -> PreviewApi:
        """Return the HTTP API of all roots."""
        services = {alias: partial(self._answering, alias) for alias in (*self.roots, *self.refused)}
        return PreviewApi(
            services,
            Renders(self.storage(self.data)),
            batches=True,
            auth_mode=self.auth_mode,
            limit_s=min(self.settings.limits.seconds, self.answer_limit_s),
            catalogue=cache(self._catalogue),
        )

    def _catalogue(self) -> CatalogueView:
        """Return the catalogue, of which a part of the function's memory is kept."""
        from dicom_series_preview.products.catalogue.view import CatalogueView  # noqa: PLC0415 - pictures do without it

        urls = {alias: parse_root(url, self.environment).url for alias, url in self.roots.items()}
        memory = self.environment.get(MEMORY_VARIABLE, "")
        most = _catalogue_bytes(int(memory) * 2**20 if memory.isdecimal() else UNKNOWN_MEMORY)
        return CatalogueView(self.storage(self.data), urls, self.settings.identifiers, most_bytes=most)

    def _answering(self, alias: str) -> PreviewService:
        """Return the service of a root for callers who wait for an answer."""
        service = self.service(alias)
        limits = service.limits
        return replace(service, limits=replace(limits, seconds=min(limits.seconds, self.answer_limit_s)))


def _catalogue_bytes(memory: int) -> int:
    """Return how many bytes of the decoded catalogue a function keeps; its files take half as many."""
    return max(memory // 8, (memory - _PROGRAM_BYTES) // 2)


class _Pairs(list[tuple[str, Any]]):
    """The names and values of a JSON object, including duplicates."""


def _roots(
    given: Sequence[tuple[str, Any]], environment: Mapping[str, str]
) -> tuple[dict[str, str], frozenset[str]]:
    """Return the roots that can be opened, by alias, and the aliases of the others.

    Raises:
        RequestError: The default root is missing or wrong: nothing works without it.
    """
    roots: dict[str, str] = {}
    refused: set[str] = set()
    times = Counter(alias for alias, _ in given)
    for alias, url in given:
        try:
            _check_root(alias, url, times[alias], environment)
        except RequestError:
            if alias == DEFAULT_ROOT_ALIAS:
                raise
            if alias not in refused:
                # Show neither its URL, which can hold a secret, nor an invalid alias.
                shown = alias if _ALIAS.fullmatch(alias) else "an alias that is none"
                _LOGGER.error("the root of %s is left out; mend its entry in Roots", shown)  # noqa: TRY400
            refused.add(alias)
        else:
            roots[alias] = url
    if DEFAULT_ROOT_ALIAS not in roots:
        raise RequestError(ROOTS_VARIABLE, f"needs the alias {DEFAULT_ROOT_ALIAS!r}")
    return roots, frozenset(refused)


def _check_root(alias: str, url: object, times: int, environment: Mapping[str, str]) -> None:
    """Refuse a root that can never be opened.

    Raises:
        RequestError: The alias is no text of letters, digits and hyphens, or is repeated, or the URL is no
            storage's.
    """
    if times > 1:
        raise RequestError(ROOTS_VARIABLE, f"{alias!r} stands there {times} times")
    if not _ALIAS.fullmatch(alias) or not isinstance(url, str):
        raise RequestError(
            ROOTS_VARIABLE, f"{alias!r}: an alias has small letters, digits and hyphens; its root is a URL"
        )
    try:
        parse_root(url, environment)
    except RequestError as error:
        raise RequestError(ROOTS_VARIABLE, f"{alias}: {error}") from error


def _count(environment: Mapping[str, str], variable: str, default: int, most: int) -> int:
    """Return a variable's number.

    Raises:
        RequestError: The value is no whole number from 1 to `most`.
    """
    return int(number_of(variable, environment.get(variable, str(default)), 1, most))


def _settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings from the environment; defaults fit a function and its memory.

    Raises:
        RequestError: A variable holds no number.
    """
    memory = environment.get(MEMORY_VARIABLE, "")
    limits = Limits.for_memory(int(memory) * 2**20) if memory.isdecimal() else Limits()
    nowhere = Path("/tmp")  # noqa: S108 - no local cache is used
    defaults = Settings(
        nowhere,
        request_timeout_s=_REQUEST_TIMEOUT_S,
        retry_timeout_s=_RETRY_TIMEOUT_S,
        limits=limits,
        identifiers=Identifiers("drop"),
    )
    return Settings.from_environment(environment, nowhere, defaults)


@cache
def deployment() -> Deployment:
    """Return this process's deployment."""
    import os  # noqa: PLC0415 - so that nothing else here reads the environment

    return Deployment.from_environment(os.environ)
