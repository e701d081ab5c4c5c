"""Batches: many series indexed and previewed by a Step Functions Distributed Map.

submit    a request -> `batches/ID/request.json`, and an execution that knows only the ID
prepare   the request's manifest or prefix -> `batches/ID/items.json`, which the map reads
item      one series -> its index, its mosaic, and `batches/ID/outcomes/NN/DIGEST.json`
summary   all outcomes -> `batches/ID/summary.json` and `outcomes.parquet`

Every item writes its own outcome, so that the summary needs nothing of the map's own output, and a rerun is
made from the outcomes of an earlier batch. The outcomes' status:

ok          index and mosaic are there
no-preview  the series itself stands in the way (no image, not found, too large, access denied): trying again
            would come to the same, so nothing is raised and a rerun leaves it out unless it is asked for
failed      something else did (the storage stayed away, the function died): the map has tried it several
            times, and a rerun tries it again
missing     there is no outcome: the batch was cancelled or stopped before, or none could be written
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import math
import re
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from dicom_series_preview.archive.names import LONE_SURROGATE, SeriesName, series_digest
from dicom_series_preview.base.errors import (
    AccessDeniedError,
    CombinedRequestError,
    CredentialsError,
    IndexBusyError,
    LimitError,
    ObjectChangedError,
    ObjectNotFoundError,
    PreviewError,
    RequestError,
    SeriesNameError,
    StorageError,
    StorageUnavailableError,
)
from dicom_series_preview.products.pictures.requests import MosaicRequest
from dicom_series_preview.sources.storage.base import ByteRange
from dicom_series_preview.sources.storage.roots import parse_root
from dicom_series_preview.web.http.api import DEFAULT_ROOT_ALIAS, refuse_root
from dicom_series_preview.web.http.problems import detail_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from dicom_series_preview.doors.aws.environment import Deployment
    from dicom_series_preview.sources.storage.base import Fetched, ObjectInfo, Storage

BATCH_FOLDER = "batches"
MOSAIC_NAME = "mosaic.webp"
INLINE_LIMIT = 1000
MANIFEST_LIMIT_BYTES = 128 * 2**20
# What may pass. functions/batch.asl.json names the same.
RETRIED = (StorageUnavailableError, ObjectChangedError, IndexBusyError, CredentialsError)
_HEAD_BYTES = 64 * 1024
_NO_ACCESS = (
    "cannot be read: access denied, or it is not there. Put it below manifests/ in the data bucket or below "
    "DicomPrefix beside the series, or name its bucket in the deployment's parameter ManifestBucketArns"
)
_BATCH_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MANIFEST = re.compile(r"s3://[^/]+/.+")
_SOURCES = ("series", "manifest", "prefix", "rerun")
_FIELDS = {*_SOURCES, "no_preview", "root", "mosaic"}


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """What a batch does.

    Attributes:
        root: The alias of the root that the series lie below.
        series: The series, named one by one.
        manifest: The `s3://` URL of a CSV with a column `series`, or of a JSON array.
        prefix: All series below the root whose names begin so; empty for all.
        rerun: A batch of which what failed or is missing is done again, with its own root and options.
        no_preview: The rerun also does again what had no preview.
        mosaic: Options of the mosaics, as in the HTTP API.
    """

    root: str = DEFAULT_ROOT_ALIAS
    series: tuple[str, ...] = ()
    manifest: str | None = None
    prefix: str | None = None
    rerun: str | None = None
    no_preview: bool = False
    mosaic: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def from_document(cls, document: Any, roots: Collection[str]) -> BatchRequest:  # noqa: ANN401 - JSON
        """Validate a JSON document.

        Args:
            document: The document.
            roots: The aliases there are.

        Raises:
            RequestError: It is wrong; all that is, in one error.
        """
        if not isinstance(document, dict):
            raise RequestError("body", f"is a JSON object with one of {', '.join(_SOURCES)}")
        problems = [
            RequestError(str(name), "is not a field of a batch") for name in document if name not in _FIELDS
        ]
        given = [name for name in _SOURCES if document.get(name) is not None]
        if len(given) != 1:
            problems.append(RequestError("body", f"needs exactly one of {', '.join(_SOURCES)}"))
        series = document.get("series")
        problems += _wrong_series(series)
        texts = [name for name in ("root", "manifest", "prefix", "rerun") if name in document]
        problems += [RequestError(name, "is text") for name in texts if not _is_text(document[name])]
        root = document.get("root", DEFAULT_ROOT_ALIAS)
        if isinstance(root, str) and root not in roots:
            problems.append(
                RequestError("root", f"is one alias of this deployment: {', '.join(sorted(roots))}")
            )
        manifest = document.get("manifest")
        if isinstance(manifest, str) and not _MANIFEST.fullmatch(manifest):
            problems.append(RequestError("manifest", "is an s3:// URL of a CSV or a .json"))
        rerun = document.get("rerun")
        if isinstance(rerun, str) and not _BATCH_ID.fullmatch(rerun):
            problems.append(RequestError("rerun", "is the identifier of a batch"))
        no_preview = document.get("no_preview", False)
        if not isinstance(no_preview, bool) or (no_preview and rerun is None):
            problems.append(RequestError("no_preview", "is true or false, and goes with rerun"))
        if rerun is not None:
            problems += [
                RequestError(name, "is that of the batch that is done again; leave it out")
                for name in ("root", "mosaic")
                if name in document
            ]
        mosaic, wrong = _mosaic_options(document.get("mosaic"))
        problems += wrong
        if len(problems) == 1:
            raise problems[0]
        if problems:
            raise CombinedRequestError(tuple(problems))
        return cls(root, tuple(series or ()), manifest, document.get("prefix"), rerun, no_preview, mosaic)


def _is_text(value: Any) -> bool:  # noqa: ANN401 - JSON
    """Whether it is text of whole characters; JSON's escapes allow halves."""
    return isinstance(value, str) and not LONE_SURROGATE.search(value)


def _wrong_series(series: Any) -> list[RequestError]:  # noqa: ANN401 - JSON
    """What is wrong with series that are named one by one."""
    if series is None:
        return []
    if not isinstance(series, list) or not all(isinstance(name, str) for name in series):
        return [RequestError("series", "is a list of names")]
    if not series:
        # Not everything there is: that is the empty prefix.
        return [RequestError("series", "names no series")]
    if len(series) > INLINE_LIMIT:
        return [RequestError("series", f"names at most {INLINE_LIMIT} series; use a manifest for more")]
    problems = []
    for name in series:
        try:
            refuse_root(SeriesName.parse(name))
        except SeriesNameError as error:
            problems.append(error)
    return list(problems)


def _mosaic_options(given: Any) -> tuple[dict[str, list[str]], list[RequestError]]:  # noqa: ANN401 - JSON
    """The mosaics' options as a request is built from, and what is wrong with them."""
    if given is None:
        return {}, []
    if not isinstance(given, dict):
        return {}, [RequestError("mosaic", "is an object of options")]
    options = {
        str(name): [str(value) for value in values] if isinstance(values, list) else [str(values)]
        for name, values in given.items()
    }
    try:
        MosaicRequest.from_strings("series", MOSAIC_NAME, options)
    except CombinedRequestError as error:
        return {}, list(error.errors)
    except RequestError as error:
        return {}, [error]
    return options, []


def check_batch_id(batch: str) -> str:
    """The identifier of a batch.

    Raises:
        RequestError: It is none.
    """
    if not _BATCH_ID.fullmatch(batch):
        raise RequestError("batch", "is the identifier of a batch")
    return batch


def check_source(request: BatchRequest, deployment: Deployment) -> None:
    """Look, as far as that is cheap, whether the series of a batch can be read at all.

    Raises:
        RequestError: The manifest cannot be read or is none, or there is no batch that could be done again.
        StorageError: The storage does not answer.
    """
    if request.manifest is not None:
        _check_manifest(request.manifest, deployment)
    if request.rerun is not None:
        _request_of(request.rerun, deployment)


def keep_request(batch: str, document: Any, deployment: Deployment) -> Any:  # noqa: ANN401 - JSON documents
    """Keep a batch's request, unless one is kept already.

    Returns:
        The request that is kept.

    Raises:
        StorageError: It cannot be kept.
    """
    data = deployment.storage(deployment.data)
    path = f"{BATCH_FOLDER}/{check_batch_id(batch)}/request.json"
    try:
        data.put(path, json.dumps(document).encode(), if_version="")
    except ObjectChangedError:
        return json.loads(data.get(path).data)
    return document


def read_request(batch: str, deployment: Deployment) -> Any:  # noqa: ANN401 - a JSON document
    """The request of a batch as it was given, or None where there is no such batch."""
    return _document(f"{BATCH_FOLDER}/{check_batch_id(batch)}/request.json", deployment)


def _document(path: str, deployment: Deployment) -> Any:  # noqa: ANN401 - a JSON document
    """A JSON document in the data bucket, or None where there is none."""
    try:
        return _whole_characters(json.loads(deployment.storage(deployment.data).get(path).data))
    except ObjectNotFoundError:
        return None


def _whole_characters(document: Any) -> Any:  # noqa: ANN401 - JSON
    """A document in whose texts another character stands for each half of one.

    JSON's escapes allow halves, and they can neither be asked for nor written: a name that has one finds no
    series, and takes none along. Lists and requests that were kept before such names were refused have them.
    """
    if isinstance(document, str):
        return LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", document)
    if isinstance(document, dict):
        return {_whole_characters(name): _whole_characters(value) for name, value in document.items()}
    return [_whole_characters(value) for value in document] if isinstance(document, list) else document


def _request_of(batch: str, deployment: Deployment) -> BatchRequest:
    """The request of an earlier batch.

    Raises:
        RequestError: It is there no more, or never was.
    """
    document = read_request(batch, deployment)
    if document is None:
        raise RequestError("rerun", "there is no such batch, or it is so old that its request has expired")
    return BatchRequest.from_document(document, deployment.roots)


def prepare(batch: str, deployment: Deployment) -> dict[str, Any]:
    """Write the items of a batch.

    Returns:
        `key`, the place of the items in the data bucket, and `count`.

    Raises:
        PreviewError: The manifest or prefix cannot be read, or names nothing. `failure.json` says why.
    """
    data = deployment.storage(deployment.data)
    folder = f"{BATCH_FOLDER}/{check_batch_id(batch)}"
    try:
        document = _whole_characters(json.loads(data.get(f"{folder}/request.json").data))
        request = BatchRequest.from_document(document, deployment.roots)
        items = _items(request, deployment)
        if not items and request.rerun is None:
            raise RequestError("body", "the batch names no series")
        if len(items) > deployment.batch_series:
            problem = f"the batch names {len(items)} series; the limit is {deployment.batch_series}"
            raise LimitError("body", problem)
    except PreviewError as error:
        data.put(f"{folder}/failure.json", json.dumps(_failure(error)).encode())
        raise
    data.put(f"{folder}/items.json", json.dumps(items).encode())
    below = parse_root(deployment.data, deployment.environment).prefix
    path = f"{folder}/items.json"
    return {"key": f"{below}/{path}" if below else path, "count": len(items)}


def _failure(error: PreviewError) -> dict[str, str]:
    return {"error": type(error).__name__, "reason": detail_of(error)}


def _items(request: BatchRequest, deployment: Deployment) -> list[dict[str, Any]]:
    """The items of a batch: each series once, with its root and options."""
    if request.rerun is not None:
        return _not_done(request, request.rerun, deployment)
    mosaic = {name: list(values) for name, values in request.mosaic.items()}
    names = dict.fromkeys(_names(request, deployment))
    return [{"root": request.root, "series": name, "mosaic": mosaic} for name in names]


def _not_done(request: BatchRequest, batch: str, deployment: Deployment) -> list[dict[str, Any]]:
    """The items of an earlier batch that are left, as they were."""
    items = _document(f"{BATCH_FOLDER}/{batch}/items.json", deployment)
    if items is None:
        # It ended before its items were written.
        items = _items(_request_of(batch, deployment), deployment)
    settled = {"ok"} if request.no_preview else {"ok", "no-preview"}
    outcomes = read_outcomes(batch, deployment)
    done = {outcome["series"] for outcome in outcomes if outcome["status"] in settled}
    return [item for item in items if item["series"] not in done]


def _names(request: BatchRequest, deployment: Deployment) -> Iterable[str]:
    if request.series:
        return request.series
    if request.manifest is not None:
        return _manifest(request.manifest, deployment)
    storage = deployment.storage(deployment.roots[request.root])
    return _folders(storage, request.prefix or "", deployment.series_depth)


def _folders(storage: Storage, prefix: str, depth: int) -> Iterator[str]:
    """The folders that begin so, no higher than where series lie."""
    for folder in storage.list_folders(prefix):
        if folder.count("/") + 1 < depth:
            yield from _folders(storage, f"{folder}/", depth)
        else:
            yield folder


def _check_manifest(url: str, deployment: Deployment) -> None:
    """Look at the beginning of a manifest, or at all of one that is short.

    Raises:
        RequestError: It cannot be read, or is none.
    """
    head = _fetch_manifest(url, _HEAD_BYTES, deployment)
    if head.object_size > MANIFEST_LIMIT_BYTES:
        raise LimitError("manifest", f"has {head.object_size} bytes; the limit is {MANIFEST_LIMIT_BYTES}")
    with _bad_manifest():
        if len(head.data) == head.object_size:
            if not _manifest_names(url, head.data):
                raise RequestError("manifest", "names no series")
            return
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head.data)
        if _is_json(url):
            if not text.lstrip().startswith("["):
                raise TypeError("is no array")
        elif "series" not in (csv.DictReader(io.StringIO(text, newline="")).fieldnames or ()):
            raise KeyError("series")


def _manifest(url: str, deployment: Deployment) -> list[str]:
    """The series of a manifest in S3: a CSV with a column `series`, or a JSON array of names or objects."""
    fetched = _fetch_manifest(url, MANIFEST_LIMIT_BYTES + 1, deployment)
    if len(fetched.data) > MANIFEST_LIMIT_BYTES:
        raise LimitError("manifest", f"has more than {MANIFEST_LIMIT_BYTES} bytes, the limit")
    with _bad_manifest():
        return _manifest_names(url, fetched.data)


def _fetch_manifest(url: str, most: int, deployment: Deployment) -> Fetched:
    """The first bytes of a manifest.

    Raises:
        RequestError: It cannot be read.
        StorageError: The storage does not answer.
    """
    bucket, _, name = url.removeprefix("s3://").partition("/")
    try:
        (fetched,) = deployment.storage(f"s3://{bucket}").fetch([ByteRange(name, 0, most)])
        if fetched.error is not None:
            raise fetched.error
    except RETRIED:
        raise
    except AccessDeniedError as error:
        raise RequestError("manifest", _NO_ACCESS) from error
    except (StorageError, RequestError) as error:
        raise RequestError("manifest", f"cannot be read: {error.problem}") from error
    return fetched


@contextmanager
def _bad_manifest() -> Iterator[None]:
    """Say of what cannot be read as a manifest that it is none."""
    try:
        yield
    except (ValueError, KeyError, TypeError, csv.Error, RecursionError) as error:
        raise RequestError(
            "manifest", "is no CSV with a column series and no JSON array of series"
        ) from error


def _manifest_names(url: str, data: bytes) -> list[str]:
    text = data.decode("utf-8-sig")
    names = _json_names(text) if _is_json(url) else _csv_names(text)
    return [name for name in names if name]


def _is_json(url: str) -> bool:
    return url.lower().endswith(".json")


def _json_names(text: str) -> list[str]:
    entries = _whole_characters(json.loads(text))
    if not isinstance(entries, list):
        raise TypeError("is no array")
    names = [entry if isinstance(entry, str) else entry["series"] for entry in entries]
    if not all(isinstance(name, str) for name in names):
        raise TypeError("a name is text")
    return names


def _csv_names(text: str) -> list[str]:
    return [row["series"] for row in csv.DictReader(io.StringIO(text, newline=""))]


def run_item(
    batch: str, item: Mapping[str, Any], deployment: Deployment, seconds: float = math.inf
) -> dict[str, Any]:
    """Index one series and render its mosaic.

    Args:
        batch: The batch.
        item: The series, its root and the mosaic's options.
        deployment: Where it lies.
        seconds: How long it may take.

    Returns:
        The outcome, which has been written too.

    Raises:
        PreviewError: What may pass, or is no fault of the series: the map tries it again. The outcome that
            was written is `failed`, and says why.
    """
    check_batch_id(batch)
    item = _whole_characters(item)
    outcome: dict[str, Any] = {"series": item["series"], "root": item["root"], "status": "ok"}
    start = time.perf_counter()
    try:
        outcome |= _preview(batch, item, deployment, seconds)
    except PreviewError as error:
        passes = _may_pass(error, deployment)
        slow = isinstance(error, LimitError) and time.perf_counter() - start >= seconds
        outcome |= {"status": "failed" if passes or slow else "no-preview", **_failure(error)}
        _keep_outcome(batch, outcome, deployment)
        if passes:
            raise
        return outcome
    outcome["milliseconds"] = round((time.perf_counter() - start) * 1000)
    _keep_outcome(batch, outcome, deployment)
    return outcome


def _preview(batch: str, item: Mapping[str, Any], deployment: Deployment, seconds: float) -> dict[str, Any]:
    """Write a series' mosaic, and tell what it took."""
    series = item["series"]
    service = deployment.service(item["root"])
    limits = replace(service.limits, seconds=min(service.limits.seconds, seconds))
    asked = MosaicRequest.from_strings(series, MOSAIC_NAME, item["mosaic"])
    refuse_root(asked.series)
    rendered = replace(service, limits=limits).render(asked)
    report = rendered.report
    picture = f"{mosaics_folder(service.storage.url, rendered.report.series)}/{batch}.webp"
    deployment.storage(deployment.data).put(
        picture, rendered.data, attributes={"Content-Type": rendered.image_format.media_type}
    )
    return {
        "picture": picture,
        "slices": report.slices,
        "skipped": len(report.skipped),
        "index_source": report.index_source,
        "requests": report.cost.list_requests + report.cost.get_requests,
        "bytes": report.cost.bytes,
    }


def _may_pass(error: PreviewError, deployment: Deployment) -> bool:
    """Whether it may pass, or is the deployment's own: its data bucket has nothing to do with the series."""
    own = isinstance(error, StorageError) and f"{error.url}/".startswith(f"{deployment.data}/")
    return own or isinstance(error, RETRIED)


def give_up(batch: str, item: Mapping[str, Any], error: str, deployment: Deployment) -> dict[str, Any]:
    """Write what a series came to of which the last try has failed.

    Args:
        batch: The batch.
        item: The series and its root.
        error: What Step Functions calls the error: a type of ours, or that the function has died.
        deployment: Where it lies.

    Returns:
        The outcome. One that an earlier try has settled, or the last try has written itself, stays.
    """
    item = _whole_characters(item)
    known = _document(_outcome_path(check_batch_id(batch), item["series"]), deployment)
    if known is not None and (known["status"] != "failed" or known["error"] == error):
        written: dict[str, Any] = known
        return written
    outcome = {
        "series": item["series"],
        "root": item["root"],
        "status": "failed",
        "error": error,
        "reason": f"its function ended with {error}, and so it did when it was tried again",
    }
    _keep_outcome(batch, outcome, deployment)
    return outcome


def mosaics_folder(root: str, series: str) -> str:
    """The folder of a series' mosaics, of all batches, so that they can be removed with it.

    Args:
        root: The URL of the series' root.
        series: Its folder below the root.
    """
    return f"{BATCH_FOLDER}/mosaics/{series_digest(root, series)}"


def _keep_outcome(batch: str, outcome: Mapping[str, Any], deployment: Deployment) -> None:
    data = deployment.storage(deployment.data)
    data.put(_outcome_path(batch, outcome["series"]), json.dumps(outcome).encode())


def _digest(series: str) -> str:
    return hashlib.sha256(series.encode()).hexdigest()[:32]


def _outcome_path(batch: str, series: str) -> str:
    digest = _digest(series)
    return f"{BATCH_FOLDER}/{batch}/outcomes/{digest[:2]}/{digest}.json"


def read_outcomes(batch: str, deployment: Deployment) -> list[dict[str, Any]]:
    """The outcomes that a batch's items have written so far, sorted by series."""
    data = deployment.storage(deployment.data)
    return _read_outcomes(data, data.list_objects(f"{BATCH_FOLDER}/{batch}/outcomes"))


def _read_outcomes(data: Storage, listed: Iterable[ObjectInfo]) -> list[dict[str, Any]]:
    outcomes = []
    for fetched in data.fetch(ByteRange(info.path) for info in listed):
        if fetched.error is not None:
            raise fetched.error
        outcomes.append(json.loads(fetched.data))
    return sorted(outcomes, key=lambda outcome: str(outcome["series"]))


@dataclass(frozen=True, slots=True)
class Counts:
    """How many series came to what.

    Attributes:
        ok: Series that were done.
        no_preview: Series that cannot have a preview.
        failed: Series that failed, and may not another time.
        reasons: By error, how many series have no preview or failed for it.
    """

    ok: int
    no_preview: int
    failed: int
    reasons: dict[str, int]

    @classmethod
    def of(cls, outcomes: Iterable[Mapping[str, Any]]) -> Counts:
        """Count outcomes."""
        statuses: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        for outcome in outcomes:
            statuses[outcome["status"]] += 1
            if outcome["status"] != "ok":
                reasons[outcome["error"]] += 1
        return cls(statuses["ok"], statuses["no-preview"], statuses["failed"], dict(sorted(reasons.items())))


def counts_so_far(batch: str, deployment: Deployment) -> Counts | None:
    """The counts of a batch's outcomes so far; None where there are too many to be read for an answer."""
    data = deployment.storage(deployment.data)
    listed = data.list_objects(f"{BATCH_FOLDER}/{batch}/outcomes", most=INLINE_LIMIT)
    if len(listed) > INLINE_LIMIT:
        return None
    return Counts.of(_read_outcomes(data, listed))


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of a batch.

    Attributes:
        batch: Its identifier.
        items: Series it names.
        ok: Series that were done.
        no_preview: Series that cannot have a preview.
        failed: Series that failed, and may not another time.
        missing: Series without an outcome: they were never tried, or none could be written.
        reasons: By error, how many series have no preview or failed for it.
        requests: Requests made.
        bytes: Bytes of objects received.
        milliseconds: Time spent in the functions.
        error: Why the batch as a whole failed, as `error` and `reason`; or None.
        outcomes: Path of the outcomes as Parquet.
    """

    batch: str
    items: int
    ok: int
    no_preview: int
    failed: int
    missing: int
    reasons: dict[str, int]
    requests: int
    bytes: int
    milliseconds: int
    error: dict[str, str] | None
    outcomes: str


_OUTCOME_SCHEMA = pa.schema(
    [
        ("series", pa.utf8()),
        ("root", pa.utf8()),
        ("status", pa.utf8()),
        ("error", pa.utf8()),
        ("reason", pa.utf8()),
        ("picture", pa.utf8()),
        ("slices", pa.int64()),
        ("skipped", pa.int64()),
        ("index_source", pa.utf8()),
        ("requests", pa.int64()),
        ("bytes", pa.int64()),
        ("milliseconds", pa.int64()),
    ]
)


def summarise(
    batch: str, deployment: Deployment, error: str | None = None, tolerated_percent: float = 100
) -> Summary:
    """Gather a batch's outcomes into one Parquet file and a summary.

    Args:
        batch: The batch.
        deployment: Where it lies.
        error: What Step Functions calls the error that a step of the batch itself has ended with, or None.
        tolerated_percent: The batch fails where more of its series than these have failed or are missing.
    """
    folder = f"{BATCH_FOLDER}/{check_batch_id(batch)}"
    # There are none where it failed before they were written.
    items = _document(f"{folder}/items.json", deployment) or []
    outcomes = read_outcomes(batch, deployment)
    told = {outcome["series"] for outcome in outcomes}
    missing = [item for item in items if item["series"] not in told]
    reason = "no outcome was written"
    rows = outcomes + [
        {"series": item["series"], "root": item["root"], "status": "missing", "reason": reason}
        for item in missing
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=_OUTCOME_SCHEMA), sink, compression="zstd")
    data = deployment.storage(deployment.data)
    data.put(f"{folder}/outcomes.parquet", bytes(sink.getvalue()))
    counts = Counts.of(outcomes)
    lost = counts.failed + len(missing)
    if error is not None:
        why = _why(folder, error, deployment)
    elif lost * 100 > tolerated_percent * len(items):
        reason = f"{lost} of {len(items)} series failed or are missing, more than {tolerated_percent:g} %"
        why = {"error": "TooManyFailed", "reason": f"{reason}; a rerun does them again"}
    else:
        why = None
    summary = Summary(
        batch=batch,
        items=len(items),
        ok=counts.ok,
        no_preview=counts.no_preview,
        failed=counts.failed,
        missing=len(missing),
        reasons=counts.reasons,
        requests=sum(outcome.get("requests", 0) for outcome in outcomes),
        bytes=sum(outcome.get("bytes", 0) for outcome in outcomes),
        milliseconds=sum(outcome.get("milliseconds", 0) for outcome in outcomes),
        error=why,
        outcomes=f"{folder}/outcomes.parquet",
    )
    data.put(f"{folder}/summary.json", json.dumps(asdict(summary)).encode())
    return summary


def _why(folder: str, error: str, deployment: Deployment) -> dict[str, str]:
    """Why a step of a batch failed: as it has written itself, else as Step Functions calls it."""
    told = _document(f"{folder}/failure.json", deployment)
    if told is not None and told["error"] == error:
        return {"error": error, "reason": told["reason"]}
    return {"error": error, "reason": f"a step of the batch ended with {error}"}


def read_summary(batch: str, deployment: Deployment) -> dict[str, Any] | None:
    """The summary of a batch, or None while there is none."""
    document: dict[str, Any] | None = _document(f"{BATCH_FOLDER}/{batch}/summary.json", deployment)
    return document
