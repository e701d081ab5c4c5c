"""Try a deployed stack from end to end, and leave nothing behind: `make smoke STACK=name`.

It uploads small series, finds the index that the upload made, asks for a mosaic twice and for a 304, runs a
batch of which every fifth series has no image, moves a change from the dead-letter queue back, and erases a
series.

It needs AWS credentials that may describe the stack, call its API, write and remove smoke-* in the bucket of
series and what is made of it in the data bucket, and send to and receive from the two queues. Where AuthMode
is JWT, SMOKE_TOKEN holds a token with the scope for batches.
"""

import argparse
import json
import os
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import URLLib3Session

sys.path.append(str(Path(__file__).parents[1] / "support"))

from collections.abc import Callable, Iterable, Iterator

import synthetic
from dicom_series_preview.archive.names import index_folder, index_path, series_digest

SERIES, WITHOUT_IMAGE, SLICES = 10, 2, 4
TOKEN_VARIABLE = "SMOKE_TOKEN"


class SmokeError(Exception):
    """The stack does not do what it should."""


def check(holds: object, otherwise: str) -> None:
    """End with a sentence where something does not hold."""
    if not holds:
        raise SmokeError(otherwise)


@dataclass(frozen=True)
class Patience:
    """How long is waited.

    Attributes:
        pause_s: Between two looks.
        settle_s: Before the first look at what an event brings about: the queue's batching window and more.
        longest_s: Until it is given up.
    """

    pause_s: float = 5.0
    settle_s: float = 45.0
    longest_s: float = 600.0

    def until(self, look: Callable[[], Any], otherwise: str) -> Any:
        """Look until something is there."""
        deadline = time.monotonic() + self.longest_s
        while not (found := look()):
            check(time.monotonic() < deadline, f"{otherwise} (after {self.longest_s:g} s)")
            time.sleep(self.pause_s)
        return found


@dataclass(frozen=True)
class Deployment:
    """A deployed stack, as its outputs and parameters tell.

    Attributes:
        session: Credentials and region.
        outputs: By name.
        parameters: By name.
        s3: A client of S3.
        sqs: A client of SQS.
    """

    session: boto3.Session = field(repr=False)
    outputs: dict[str, str]
    parameters: dict[str, str]
    s3: Any = field(repr=False)
    sqs: Any = field(repr=False)

    @classmethod
    def of(cls, stack: str, session: boto3.Session, **clients: Any) -> Self:
        """Ask CloudFormation for a stack.

        Args:
            stack: Its name.
            session: Credentials and region.
            clients: Those of `cloudformation`, `s3` and `sqs`, where they are not the session's own.
        """
        made = {name: clients.get(name) or session.client(name) for name in ("cloudformation", "s3", "sqs")}
        (found,) = made["cloudformation"].describe_stacks(StackName=stack)["Stacks"]
        return cls(
            session,
            {entry["OutputKey"]: entry["OutputValue"] for entry in found["Outputs"]},
            {entry["ParameterKey"]: entry["ParameterValue"] for entry in found["Parameters"]},
            made["s3"],
            made["sqs"],
        )

    @property
    def root(self) -> str:
        """The URL of the default root."""
        return f"s3://{self.outputs['SeriesBucketName']}/{self.parameters['DicomPrefix']}".rstrip("/")

    def key(self, series: str, name: str = "") -> str:
        """An object's key."""
        return "/".join(filter(None, (self.parameters["DicomPrefix"], series))) + f"/{name}"

    def call(
        self, method: str, path: str, query: dict[str, Any] | None = None, body: Any = None, **headers: str
    ) -> Any:
        """A request to the HTTP API; underscores in headers' names stand for hyphens."""
        mode = self.parameters["AuthMode"]
        target = f"{self.outputs['ApiUrl']}{path}" + (f"?{urlencode(query)}" if query else "")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = None
        if body is not None:
            data, named["Content-Type"] = json.dumps(body).encode(), "application/json"
        if mode == "JWT":
            check(os.environ.get(TOKEN_VARIABLE), f"AuthMode is JWT: put a token into {TOKEN_VARIABLE}")
            named["Authorization"] = f"Bearer {os.environ[TOKEN_VARIABLE]}"
        request = AWSRequest(method, target, headers=named, data=data)
        if mode == "IAM" or (mode == "NONE" and path.startswith("/batches")):
            SigV4Auth(self.session.get_credentials(), "execute-api", self.session.region_name).add_auth(
                request
            )
        return URLLib3Session(timeout=60).send(request.prepare())

    def keys(self, bucket: str, prefix: str) -> Iterator[str]:
        """The keys below a prefix."""
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            yield from (entry["Key"] for entry in page.get("Contents", ()))

    def waiting(self, queue: str) -> int:
        """How many messages of a queue wait or are being worked on."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.outputs[queue], AttributeNames=names)
        return sum(int(found["Attributes"][name]) for name in names)


@dataclass
class Smoke:
    """One run.

    Attributes:
        stack: What is tried.
        patience: How long is waited.
        mark: What the names of all that it makes begin with.
        batches: Batches that it has started.
    """

    stack: Deployment
    patience: Patience
    mark: str = field(default_factory=lambda: f"smoke-{uuid.uuid4().hex[:8]}")
    batches: list[str] = field(default_factory=list)

    def series(self, number: int) -> str:
        """A series' name: as deep below the root as the deployment's lie."""
        return "/".join(
            [self.mark] * (int(self.stack.parameters["SeriesDepth"]) - 1) + [f"{self.mark}-{number}"]
        )

    def steps(self) -> list[tuple[str, Callable[[], str]]]:
        """What is tried, in order; each says what it has seen."""
        return [
            ("upload", self.upload),
            ("index", self.index),
            ("mosaic", self.mosaic),
            ("304", self.not_modified),
            ("batch", self.batch),
            ("dead letters", self.dead_letters),
            ("erasure", self.erasure),
        ]

    def upload(self) -> str:
        """Series, of which every fifth has no image."""
        for number in range(SERIES):
            name = self.series(number)
            if number < WITHOUT_IMAGE:
                objects = {"notes.dcm": b"no DICOM at all"}
            else:
                objects = synthetic.series(name, SLICES, others=False).objects
            self._put(name, objects)
        return f"{SERIES} series"

    def index(self) -> str:
        """What was uploaded has been indexed before anybody asks for it."""
        self._settle()
        answer = self._get(self.series(SERIES - 1), "index")
        said = answer.headers.get("preview-index")
        check(
            said == "cache",
            f"the upload made no index: it was {said} when asked for; does the bucket tell of its objects? "
            f"{self.stack.outputs['NotifyCommand']}",
        )
        slices = [entry["slices"] for entry in json.loads(answer.content)["stacks"]]
        check(slices == [SLICES], f"the index has stacks of {slices} slices instead of {SLICES}")
        return f"made by the upload, {SLICES} slices"

    def mosaic(self) -> str:
        """A picture is made once, and kept."""
        first, second = (self._get(self.series(SERIES - 1), "mosaic", tile_width=2) for _ in range(2))
        kinds = [answer.headers.get("preview-render") for answer in (first, second)]
        check(first.content[8:12] == b"WEBP", "the mosaic is no WebP picture")
        check(kinds == ["made", "kept"] and first.content == second.content, f"the mosaic was {kinds}")
        return f"{len(first.content)} bytes, kept"

    def not_modified(self) -> str:
        """Who has a picture already gets none."""
        etag = self._get(self.series(SERIES - 1), "mosaic", tile_width=2).headers["etag"]
        answer = self._get(self.series(SERIES - 1), "mosaic", status=304, etag=etag, tile_width=2)
        check(answer.content == b"", "a 304 has a body")
        return "no body"

    def batch(self) -> str:
        """Series without images are outcomes; the batch succeeds."""
        prefix = self.series(0).removesuffix("0")
        started = self.stack.call("POST", "/batches", body={"prefix": prefix, "mosaic": {"tile_width": 2}})
        check(started.status_code == 202, _told("POST /batches", started))
        name = json.loads(started.content)["batch"]
        self.batches.append(name)

        def ended() -> Any:
            found = self.stack.call("GET", f"/batches/{name}")
            check(found.status_code == 200, _told("GET /batches", found))
            document = json.loads(found.content)
            return document if document["status"] != "RUNNING" else None

        document = self.patience.until(ended, "the batch does not end")
        summary = document["summary"]
        counts = {key: summary[key] for key in ("items", "ok", "no_preview", "failed", "missing")}
        wanted = {"items": SERIES, "ok": SERIES - WITHOUT_IMAGE, "no_preview": WITHOUT_IMAGE}
        check(document["status"] == "SUCCEEDED", f"the batch {document['status']}: {document['error']}")
        check(counts == {**wanted, "failed": 0, "missing": 0}, f"the batch came to {counts}")
        mosaics = list(self._made(self.series(SERIES - 1))[1])
        check(mosaics, "the batch has kept no mosaic")
        return f"{counts['ok']} of {SERIES}, {WITHOUT_IMAGE} without an image"

    def dead_letters(self) -> str:
        """A change that lies in the dead-letter queue is worked on when it is moved back."""
        dead, queue = self.stack.outputs["ObjectsDeadLettersUrl"], self.stack.outputs["ObjectsQueueUrl"]
        found = self.stack.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["RedrivePolicy"])
        policy = json.loads(found["Attributes"]["RedrivePolicy"])
        check(
            policy["deadLetterTargetArn"].rpartition(":")[2] == dead.rpartition("/")[2],
            "what cannot be indexed does not go to the dead-letter queue",
        )
        # As if the update had failed: the series is there, and its index is not.
        name, data = self.series(SERIES - 2), self.stack.outputs["DataBucketName"]
        index = index_path(name, index_folder(self.stack.root))
        check(list(self.stack.keys(data, index)), "an index does not lie where it should")
        self._delete(data, [index])
        bucket, key = self.stack.outputs["SeriesBucketName"], self.stack.key(name, "x")
        detail = {"bucket": {"name": bucket}, "object": {"key": key}}
        body = json.dumps({"detail-type": "Object Created", "detail": detail})
        self.stack.sqs.send_message(QueueUrl=dead, MessageBody=body)

        def moved() -> bool:
            found = self.stack.sqs.receive_message(QueueUrl=dead, WaitTimeSeconds=1, MaxNumberOfMessages=10)
            ours = [message for message in found.get("Messages", ()) if message["Body"] == body]
            for message in ours:
                self.stack.sqs.send_message(QueueUrl=queue, MessageBody=body)
                self.stack.sqs.delete_message(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])
            return bool(ours)

        self.patience.until(moved, "a message sent to the dead-letter queue does not come from it")
        self._settle()
        said = self._get(name, "index").headers.get("preview-index")
        check(said == "cache", f"a change that was moved back made no index: it was {said}")
        return "moved back, and worked on"

    def poison(self) -> str:
        """A message that is no event comes to lie in the dead-letter queue; on AWS that takes hours."""
        dead = self.stack.outputs["ObjectsDeadLettersUrl"]
        text = f"{self.mark} is no event"
        self.stack.sqs.send_message(QueueUrl=self.stack.outputs["ObjectsQueueUrl"], MessageBody=text)

        def found() -> bool:
            answer = self.stack.sqs.receive_message(QueueUrl=dead, WaitTimeSeconds=1, MaxNumberOfMessages=10)
            ours = [message for message in answer.get("Messages", ()) if message["Body"] == text]
            for message in ours:
                self.stack.sqs.delete_message(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])
            return bool(ours)

        self.patience.until(found, "a message that is no event does not come to lie in the dead-letter queue")
        return "put aside"

    def erasure(self) -> str:
        """With a series go its index, its pictures and its mosaics of batches."""
        name = self.series(SERIES - 1)
        renders, mosaics = (list(keys) for keys in self._made(name))
        check(renders and mosaics, f"there are {len(renders)} pictures and {len(mosaics)} mosaics to erase")
        self._remove(self.stack.key(name))
        self.patience.until(
            lambda: not any(key for keys in self._made(name) for key in keys),
            "the pictures of a series that is gone are still there",
        )
        for resource in ("index", "mosaic"):
            self._get(name, resource, status=404)
        return f"{len(renders)} pictures and {len(mosaics)} mosaics of batches gone"

    def clean(self) -> None:
        """Remove all that it has made, versions too, and what was made of it."""
        data, bucket = self.stack.outputs["DataBucketName"], self.stack.outputs["SeriesBucketName"]
        for number in range(SERIES):
            self._remove(self.stack.key(self.series(number)))
            for keys in self._made(self.series(number)):
                self._delete(data, keys)
        for batch in self.batches:
            self._delete(data, self.stack.keys(data, f"batches/{batch}/"))
        self._settle()
        below = self.stack.key(self.mark).removesuffix("/")
        for page in self.stack.s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=below):
            for entry in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                self.stack.s3.delete_object(Bucket=bucket, Key=entry["Key"], VersionId=entry["VersionId"])

    def _put(self, series: str, objects: dict[str, bytes]) -> None:
        for name, data in objects.items():
            self.stack.s3.put_object(
                Bucket=self.stack.outputs["SeriesBucketName"], Key=self.stack.key(series, name), Body=data
            )

    def _remove(self, prefix: str) -> None:
        bucket = self.stack.outputs["SeriesBucketName"]
        self._delete(bucket, self.stack.keys(bucket, prefix))

    def _delete(self, bucket: str, keys: Iterable[str]) -> None:
        for key in list(keys):
            self.stack.s3.delete_object(Bucket=bucket, Key=key)

    def _made(self, series: str) -> list[Iterator[str]]:
        """The keys of a series' pictures, and of its mosaics of batches."""
        data, digest = self.stack.outputs["DataBucketName"], series_digest(self.stack.root, series)
        return [self.stack.keys(data, f"{folder}/{digest}/") for folder in ("renders", "batches/mosaics")]

    def _get(self, series: str, resource: str, *, status: int = 200, etag: str = "", **query: Any) -> Any:
        headers = {"If_None_Match": etag} if etag else {}
        answer = self.stack.call("GET", f"/series/{quote(series, safe='')}/{resource}", query, **headers)
        check(answer.status_code == status, _told(f"GET {resource}", answer))
        return answer

    def _settle(self) -> None:
        """Wait until no change waits or is worked on; the queue tells that roughly, so it is asked again."""
        time.sleep(self.patience.settle_s)
        seen: list[int] = []

        def quiet() -> bool:
            seen.append(self.stack.waiting("ObjectsQueueUrl"))
            return seen[-3:] == [0, 0, 0]

        self.patience.until(quiet, "changes wait in the queue and are not worked on")


def _told(what: str, answer: Any) -> str:
    return f"{what} was answered {answer.status_code}: {answer.content[:300].decode(errors='replace')}"


def run(smoke: Smoke, steps: Iterable[tuple[str, Callable[[], str]]]) -> int:
    """Take the steps; 1 at the first that fails. What was made is removed in any case."""
    try:
        for name, step in steps:
            started = time.monotonic()
            seen = step()
            print(f"{name}: {seen} ({time.monotonic() - started:.1f} s)", flush=True)  # noqa: T201 - it reports
    except SmokeError as error:
        print(f"{name}: FAILED: {error}", file=sys.stderr)  # noqa: T201
        return 1
    finally:
        smoke.clean()
    print(f"clean: nothing of {smoke.mark} is left in the bucket of series")  # noqa: T201
    return 0


def main(arguments: list[str]) -> int:
    """Try the stack that is named."""
    parser = argparse.ArgumentParser(prog="make smoke", description=__doc__.partition("\n")[0])
    parser.add_argument("stack", help="the name of the deployed stack")
    parser.add_argument(
        "--poison", action="store_true", help="also wait, for hours, until SQS puts a message aside"
    )
    given = parser.parse_args(arguments)
    patience = Patience(longest_s=4 * 3600) if given.poison else Patience()
    smoke = Smoke(Deployment.of(given.stack, boto3.Session()), patience)
    print(f"stack {given.stack}: all that is made begins with {smoke.mark}", flush=True)  # noqa: T201
    return run(smoke, [*smoke.steps(), *([("poison", smoke.poison)] if given.poison else [])])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
