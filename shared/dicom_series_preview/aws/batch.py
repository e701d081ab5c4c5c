"""Batches: many series indexed and previewed by a Step Functions Distributed Map.

submit    a request -> `batches/ID/request.json`, and an execution that knows only the ID
prepare   the request's manifest or prefix -> `batches/ID/items.json`, which the map reads
item      one series -> its index, its mosaic, and `batches/ID/outcomes/NN/DIGEST.json`
summary   all outcomes -> `batches/ID/summary.json` and `outcomes.parquet`

Every item writes its own outcome, a failed one too, so that the summary needs nothing of the map's own
output, and a batch that only does again what failed is made from the outcomes of an earlier one.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from dicom_series_preview.errors import (
    CombinedRequestError,
    ObjectNotFoundError,
    PreviewError,
    RequestError,
    SeriesNameError,
)
from dicom_series_preview.http import DEFAULT_ROOT_ALIAS
from dicom_series_preview.http.api import refuse_root
from dicom_series_preview.names import SeriesName, series_digest
from dicom_series_preview.requests import MosaicRequest
from dicom_series_preview.storage import ByteRange, parse_root

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from dicom_series_preview.aws.environment import Deployment
    from dicom_series_preview.storage import Storage

BATCH_FOLDER = "batches"
MOSAIC_NAME = "mosaic.webp"
# The summary holds some 3 kB of each outcome; this is half of what its function has.
ITEMS_LIMIT = 250_000
INLINE_LIMIT = 1000
_BATCH_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MANIFEST = re.compile(r"s3://[^/]+/.+")
_SOURCES = ("series", "manifest", "prefix", "rerun")
_FIELDS = {*_SOURCES, "root", "mosaic"}


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """What a batch does.

    Attributes:
        root: The alias of the root that the series lie below.
        series: The series, named one by one.
        manifest: The `s3://` URL of a CSV with a column `series`, or of a JSON array.
        prefix: All series below the root whose names begin so; empty for all.
        rerun: A batch of which what did not succeed is done again, with its own root and options.
        mosaic: Options of the mosaics, as in the HTTP API.
    """

    root: str = DEFAULT_ROOT_ALIAS
    series: tuple[str, ...] = ()
    manifest: str | None = None
    prefix: str | None = None
    rerun: str | None = None
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
        problems += [RequestError(name, "is text") for name in texts if not isinstance(document[name], str)]
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
        return cls(root, tuple(series or ()), manifest, document.get("prefix"), rerun, mosaic)


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


def submit(batch: str, document: Any, deployment: Deployment) -> None:  # noqa: ANN401 - a JSON document
    """Validate a batch's request and keep it.

    Raises:
        RequestError: It is wrong; all that is, in one error.
        StorageError: It cannot be kept.
    """
    BatchRequest.from_document(document, deployment.roots)
    data = deployment.storage(deployment.data)
    data.put(
        f"{BATCH_FOLDER}/{check_batch_id(batch)}/request.json", json.dumps(document).encode(), if_version=""
    )


def prepare(batch: str, deployment: Deployment) -> dict[str, Any]:
    """Write the items of a batch.

    Returns:
        `key`, the place of the items in the data bucket, and `count`.

    Raises:
        PreviewError: The manifest or prefix cannot be read, or names nothing.
    """
    data = deployment.storage(deployment.data)
    document = json.loads(data.get(f"{BATCH_FOLDER}/{check_batch_id(batch)}/request.json").data)
    request = BatchRequest.from_document(document, deployment.roots)
    if request.rerun is not None:
        items = _not_done(check_batch_id(request.rerun), deployment)
    else:
        mosaic = {name: list(values) for name, values in request.mosaic.items()}
        names = dict.fromkeys(_names(request, deployment))
        items = [{"root": request.root, "series": name, "mosaic": mosaic} for name in names]
    if not items:
        raise RequestError("body", "the batch names no series")
    if len(items) > ITEMS_LIMIT:
        raise RequestError("body", f"the batch names {len(items)} series; the limit is {ITEMS_LIMIT}")
    path = f"{BATCH_FOLDER}/{batch}/items.json"
    data.put(path, json.dumps(items).encode())
    below = parse_root(deployment.data, deployment.environment).prefix
    return {"key": f"{below}/{path}" if below else path, "count": len(items)}


def _not_done(batch: str, deployment: Deployment) -> list[dict[str, Any]]:
    """The items of an earlier batch that have not succeeded, as they were."""
    data = deployment.storage(deployment.data)
    items: list[dict[str, Any]] = json.loads(data.get(f"{BATCH_FOLDER}/{batch}/items.json").data)
    outcomes = read_outcomes(batch, deployment)
    done = {outcome["series"] for outcome in outcomes if outcome["status"] == "ok"}
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


def _manifest(url: str, deployment: Deployment) -> list[str]:
    """The series of a manifest in S3: a CSV with a column `series`, or a JSON array of names or objects."""
    root, _, name = url.rpartition("/")
    data = deployment.storage(root).get(name).data
    try:
        text = data.decode("utf-8-sig")
        names = _json_names(text) if name.lower().endswith(".json") else _csv_names(text)
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise RequestError(
            "manifest", "is no CSV with a column series and no JSON array of series"
        ) from error
    return [name for name in names if name]


def _json_names(text: str) -> list[str]:
    entries = json.loads(text)
    if not isinstance(entries, list):
        raise TypeError("is no array")
    names = [entry if isinstance(entry, str) else entry["series"] for entry in entries]
    if not all(isinstance(name, str) for name in names):
        raise TypeError("a name is text")
    return names


def _csv_names(text: str) -> list[str]:
    return [row["series"] for row in csv.DictReader(io.StringIO(text, newline=""))]


def run_item(batch: str, item: Mapping[str, Any], deployment: Deployment) -> dict[str, Any]:
    """Index one series and render its mosaic.

    Returns:
        The outcome, which has been written too.

    Raises:
        PreviewError: It failed; the outcome that was written says why, and the map tries again what may pass.
    """
    check_batch_id(batch)
    series = item["series"]
    data = deployment.storage(deployment.data)
    outcome: dict[str, Any] = {"series": series, "root": item["root"], "status": "ok"}
    start = time.perf_counter()
    try:
        service = deployment.service(item["root"])
        asked = MosaicRequest.from_strings(series, MOSAIC_NAME, item["mosaic"])
        refuse_root(asked.series)
        rendered = service.mosaic(asked)
    except PreviewError as error:
        reason = str(getattr(error, "problem", error))
        outcome |= {"status": "failed", "error": type(error).__name__, "reason": reason}
        data.put(_outcome_path(batch, series), json.dumps(outcome).encode())
        raise
    report = rendered.report
    picture = f"{mosaics_folder(service.storage.url, rendered.report.series)}/{batch}.webp"
    data.put(picture, rendered.data)
    outcome |= {
        "picture": picture,
        "slices": report.slices,
        "skipped": len(report.skipped),
        "index_source": report.index_source,
        "requests": report.cost.list_requests + report.cost.get_requests,
        "bytes": report.cost.bytes,
        "milliseconds": round((time.perf_counter() - start) * 1000),
    }
    data.put(_outcome_path(batch, series), json.dumps(outcome).encode())
    return outcome


def mosaics_folder(root: str, series: str) -> str:
    """The folder of a series' mosaics, of all batches, so that they can be removed with it.

    Args:
        root: The URL of the series' root.
        series: Its folder below the root.
    """
    return f"{BATCH_FOLDER}/mosaics/{series_digest(root, series)}"


def _digest(series: str) -> str:
    return hashlib.sha256(series.encode()).hexdigest()[:32]


def _outcome_path(batch: str, series: str) -> str:
    digest = _digest(series)
    return f"{BATCH_FOLDER}/{batch}/outcomes/{digest[:2]}/{digest}.json"


def read_outcomes(batch: str, deployment: Deployment) -> list[dict[str, Any]]:
    """The outcomes that a batch's items have written so far, sorted by series."""
    data = deployment.storage(deployment.data)
    listed = data.list_objects(f"{BATCH_FOLDER}/{batch}/outcomes")
    outcomes = []
    for fetched in data.fetch(ByteRange(info.path) for info in listed):
        if fetched.error is not None:
            raise fetched.error
        outcomes.append(json.loads(fetched.data))
    return sorted(outcomes, key=lambda outcome: str(outcome["series"]))


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of a batch.

    Attributes:
        batch: Its identifier.
        items: Series it names.
        ok: Series that were done.
        failed: Series that failed.
        missing: Series without an outcome: they were never tried, or their function died.
        reasons: By error, how many series failed so.
        requests: Requests made.
        bytes: Bytes of objects received.
        milliseconds: Time spent in the functions.
        error: Why the batch as a whole failed, or None.
        outcomes: Path of the outcomes as Parquet.
    """

    batch: str
    items: int
    ok: int
    failed: int
    missing: int
    reasons: dict[str, int]
    requests: int
    bytes: int
    milliseconds: int
    error: str | None
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


def summarise(batch: str, deployment: Deployment, error: str | None = None) -> Summary:
    """Gather a batch's outcomes into one Parquet file and a summary.

    Args:
        batch: The batch.
        deployment: Where it lies.
        error: Why the batch as a whole failed, or None.
    """
    check_batch_id(batch)
    data = deployment.storage(deployment.data)
    folder = f"{BATCH_FOLDER}/{batch}"
    try:
        items = json.loads(data.get(f"{folder}/items.json").data)
    except ObjectNotFoundError:
        # It failed before its items were written.
        items = []
    outcomes = read_outcomes(batch, deployment)
    told = {outcome["series"] for outcome in outcomes}
    missing = [item for item in items if item["series"] not in told]
    rows = outcomes + [
        {
            "series": item["series"],
            "root": item["root"],
            "status": "missing",
            "reason": "no outcome was written",
        }
        for item in missing
    ]
    reasons: dict[str, int] = {}
    for outcome in outcomes:
        if outcome["status"] == "failed":
            reasons[outcome["error"]] = reasons.get(outcome["error"], 0) + 1
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=_OUTCOME_SCHEMA), sink, compression="zstd")
    data.put(f"{folder}/outcomes.parquet", bytes(sink.getvalue()))
    summary = Summary(
        batch=batch,
        items=len(items),
        ok=sum(outcome["status"] == "ok" for outcome in outcomes),
        failed=sum(reasons.values()),
        missing=len(missing),
        reasons=reasons,
        requests=sum(outcome.get("requests", 0) for outcome in outcomes),
        bytes=sum(outcome.get("bytes", 0) for outcome in outcomes),
        milliseconds=sum(outcome.get("milliseconds", 0) for outcome in outcomes),
        error=error,
        outcomes=f"{folder}/outcomes.parquet",
    )
    data.put(f"{folder}/summary.json", json.dumps(asdict(summary)).encode())
    return summary


def read_summary(batch: str, deployment: Deployment) -> dict[str, Any] | None:
    """The summary of a batch, or None while there is none."""
    try:
        data = deployment.storage(deployment.data).get(f"{BATCH_FOLDER}/{batch}/summary.json").data
    except ObjectNotFoundError:
        return None
    document: dict[str, Any] = json.loads(data)
    return document
