"""Batches as executions of their state machine: start, status, cancel.

An execution's name is its batch's identifier. Step Functions starts a name once, and knows which executions
run: we trust our own notes only as far as Step Functions confirms them.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from dicom_series_preview.base.errors import ObjectChangedError, ObjectNotFoundError, RequestError
from dicom_series_preview.products.batches.documents import (
    keep_request,
    read_document,
    read_request,
    read_summary,
)
from dicom_series_preview.products.batches.outcomes import counts_so_far
from dicom_series_preview.products.batches.places import BATCH_FOLDER, check_batch_id, outcome_path
from dicom_series_preview.products.batches.prepare import check_source
from dicom_series_preview.products.batches.request import BatchRequest
from dicom_series_preview.web.http.messages import HttpResponse
from dicom_series_preview.web.http.openapi import KEY_LIMIT
from dicom_series_preview.web.http.problems import (
    BATCH_RUNNING,
    KEY_REUSED,
    NO_SUCH_BATCH,
    TOO_MANY_BATCHES,
    plain_response,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dicom_series_preview.products.batches.host import BatchHost

# A place is taken before its execution starts, and Step Functions shows a new execution after a moment.
STARTING_S = 60
_RETRY_AFTER_S = 60
_LINK_EXPIRES_S = 900
_CANCELLED = "BatchCancelled"
_NOT_THERE = ("ExecutionDoesNotExist", "InvalidArn")


@dataclass(frozen=True, slots=True)
class BatchRuns:
    """The batches of a deployment.

    Attributes:
        host: Runs them, and stores their documents.
        machine: The ARN of their state machine.
        states: A client of Step Functions.
        at_once: The most batches at once.
        clock: Seconds since 1970.
    """

    host: BatchHost
    machine: str
    states: Any
    at_once: int
    clock: Callable[[], float] = time.time

    def start(self, document: Any, key: str | None = None) -> HttpResponse:  # noqa: ANN401 - JSON
        """Answer `POST /batches`.

        Args:
            document: The request.
            key: The idempotency key: the same key always gives the same batch.

        Raises:
            PreviewError: The request is wrong, or cannot be stored.
        """
        request = BatchRequest.from_document(document, self.host)
        batch = str(uuid.uuid4()) if key is None else batch_of_key(key)
        execution = None if key is None else self._describe(batch)
        if execution is not None:
            # The execution knows its input, even after the stored request has expired.
            if json.loads(execution["input"])["request"] != digest_of(document):
                return plain_response(KEY_REUSED)
            return _started(batch, execution["status"], 200)
        kept = None if key is None else read_request(batch, self.host.data)
        if kept is None:
            check_source(request, self.host)
            if request.rerun is not None and self._runs(request.rerun):
                return plain_response(BATCH_RUNNING)
        elif digest_of(kept) != digest_of(document):
            return plain_response(KEY_REUSED)
        if not self._take_place(batch):
            return plain_response(TOO_MANY_BATCHES, Retry_After=str(_RETRY_AFTER_S))
        if digest_of(keep_request(batch, document, self.host.data)) != digest_of(document):
            # Another request with the same key came first, at this very moment.
            return plain_response(KEY_REUSED)
        self._execute(batch, document)
        return _started(batch, "RUNNING", 202)

    def status(self, batch: str, series: str | None = None) -> HttpResponse:
        """Answer `GET /batches/{id}`.

        Args:
            batch: The batch.
            series: A series of it, of which the outcome is wanted as well.

        Raises:
            PreviewError: The text is no identifier, or the batch's documents cannot be read.
        """
        execution = self._describe(check_batch_id(batch))
        if execution is None:
            return plain_response(NO_SUCH_BATCH)
        summary = read_summary(batch, self.host.data)
        so_far = None if summary else counts_so_far(batch, self.host.data)
        document = {
            "batch": batch,
            "status": execution["status"],
            "started": execution["startDate"].isoformat(),
            "ended": execution["stopDate"].isoformat() if "stopDate" in execution else None,
            "progress": self._progress(execution["executionArn"]),
            "outcomes": None if so_far is None else asdict(so_far),
            "error": _error(execution, summary),
            "summary": summary,
            "links": None if summary is None else self._links(summary),
            **({} if series is None else {"outcome": self._outcome(batch, series)}),
        }
        return HttpResponse.of_json(document, Cache_Control="no-store")

    def cancel(self, batch: str) -> HttpResponse:
        """Answer `DELETE /batches/{id}`: finished series keep their results, and a rerun does the rest.

        Raises:
            PreviewError: The text is no identifier.
        """
        execution = self._describe(check_batch_id(batch))
        if execution is None:
            return plain_response(NO_SUCH_BATCH)
        if execution["status"] != "RUNNING":
            return _started(batch, execution["status"], 200)
        self.states.stop_execution(
            executionArn=execution["executionArn"], error=_CANCELLED, cause="DELETE /batches/{id}"
        )
        return _started(batch, "ABORTED", 202)

    def _links(self, summary: Mapping[str, Any]) -> dict[str, str | None]:
        """Return links to the files that a summary names, for whoever may not read the data bucket."""
        names = [name for name in ("outcomes", "too_large_here") if summary.get(name)]
        return {name: self.host.data.link(summary[name], _LINK_EXPIRES_S) for name in names}

    def _outcome(self, batch: str, series: str) -> dict[str, Any] | None:
        """Return what became of a series, with links to its mosaic or to each file of its volumes."""
        data = self.host.data
        found: dict[str, Any] | None = read_document(outcome_path(batch, series), data)
        if found is None:
            return None
        if "picture" in found:
            found["links"] = {found["picture"]: data.link(found["picture"], _LINK_EXPIRES_S)}
        for volume in found.get("volumes", ()):
            volume["links"] = {
                path: data.link(path, _LINK_EXPIRES_S) for path in self.host.volumes.files(volume["output"])
            }
        return found

    def _execute(self, batch: str, document: Any) -> None:  # noqa: ANN401 - a JSON document
        given = json.dumps({"batch": batch, "request": digest_of(document)})
        try:
            self.states.start_execution(stateMachineArn=self.machine, name=batch, input=given)
        except ClientError as error:
            # Of two concurrent requests with one key, the other has started and has already ended.
            if error.response["Error"]["Code"] != "ExecutionAlreadyExists":
                raise

    def _describe(self, batch: str) -> Mapping[str, Any] | None:
        """Return a batch's execution, or None if there is none."""
        arn = f"{self.machine.replace(':stateMachine:', ':execution:')}:{batch}"
        try:
            described: Mapping[str, Any] = self.states.describe_execution(executionArn=arn)
        except ClientError as error:
            if error.response["Error"]["Code"] in _NOT_THERE:
                return None
            raise
        return described

    def _runs(self, batch: str) -> bool:
        execution = self._describe(batch)
        return execution is not None and execution["status"] == "RUNNING"

    def _progress(self, execution: str) -> dict[str, int] | None:
        """Return the map's progress; None before it begins."""
        runs = self.states.list_map_runs(executionArn=execution)["mapRuns"]
        if not runs:
            return None
        counts = self.states.describe_map_run(mapRunArn=runs[0]["mapRunArn"])["itemCounts"]
        return {
            "series": counts["total"],
            "waiting": counts["pending"],
            "running": counts["running"],
            "done": counts["succeeded"],
            "lost": counts["failed"] + counts["timedOut"],
            "cancelled": counts["aborted"],
        }

    def _take_place(self, batch: str) -> bool:
        """Take one of the places for concurrent batches; return False if all are taken.

        A place is an object that names its batch, and a conditional write gives it to one of two. It is free
        again as soon as Step Functions says that its batch has ended, whoever has died meanwhile.
        """
        data = self.host.data
        place = json.dumps({"batch": batch, "at": self.clock()}).encode()
        for number in range(self.at_once):
            path = f"{BATCH_FOLDER}/running/{number}.json"
            try:
                held = data.get(path)
            except ObjectNotFoundError:
                version = ""
            else:
                known = json.loads(held.data)
                if known["batch"] == batch:
                    return True
                if self._holds(known):
                    continue
                version = held.version
            with suppress(ObjectChangedError):
                data.put(path, place, if_version=version)
                return True
        return False

    def _holds(self, place: Mapping[str, Any]) -> bool:
        """Return True where a place is taken: its batch runs, or is just starting."""
        execution = self._describe(place["batch"])
        if execution is None:
            return bool(self.clock() - place["at"] < STARTING_S)
        return bool(execution["status"] == "RUNNING")


def batch_of_key(key: str) -> str:
    """Return the identifier of the batch for an idempotency key.

    Raises:
        RequestError: The key is empty or too long.
    """
    if not 0 < len(key) <= KEY_LIMIT:
        raise RequestError("idempotency_key", f"has {len(key)} characters; give 1 to {KEY_LIMIT}")
    return str(uuid.UUID(bytes=hashlib.sha256(key.encode()).digest()[:16], version=5))


def digest_of(document: Any) -> str:  # noqa: ANN401 - a JSON document
    """Return a digest of a document, the same for equivalent requests."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _started(batch: str, status: str, code: int) -> HttpResponse:
    location = f"/batches/{batch}"
    return HttpResponse.of_json(
        {"batch": batch, "status": status, "location": location},
        status=code,
        Location=location,
        Cache_Control="no-store",
    )


def _error(execution: Mapping[str, Any], summary: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Return why a batch has not succeeded, from its summary, else from Step Functions; or None."""
    if execution["status"] in ("RUNNING", "SUCCEEDED"):
        return None
    if execution["status"] == "ABORTED":
        return {"error": _CANCELLED, "reason": "the batch was cancelled; a rerun does what is left"}
    if summary is not None and summary["error"] is not None:
        told: dict[str, str] = summary["error"]
        return told
    name = execution.get("error") or execution["status"]
    return {"error": name, "reason": f"the batch ended with {name} before it could be summed up"}
