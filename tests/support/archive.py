"""The buckets, series and batches that the events speak of, on a moto server."""

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np

import make_dicom
import servers
import synthetic
from bench import one, reports, undecodable
from dicom_series_preview.archive.claims import LEASE_S
from dicom_series_preview.archive.names import index_folder, index_path

BUCKET, OTHER, DATA = "dicom-archive", "dicom-other", "preview-data"
SERIES = synthetic.SERIES
BATCH = "0b5a1c2e-7a1d-4c59-9a10-2f6f5c0d9e"
ACCOUNT = "123456789012"
MACHINE = f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:previews"


@dataclass
class Archive:
    """What is there.

    Attributes:
        roots: By alias, the roots' URLs.
        machine: The ARN of the state machine of batches.
        queue: The URL of the queue of changes.
        looks: The URL of the catalogue's queue.
        s3: A client.
        sqs: Another.
    """

    roots: dict[str, str]
    s3: Any = field(repr=False)
    sqs: Any = field(repr=False)
    queue: str
    looks: str
    machine: str = MACHINE

    def put(self, objects: Mapping[str, bytes], bucket: str = BUCKET) -> None:
        """Write objects by key."""
        with ThreadPoolExecutor(8) as pool:
            list(
                pool.map(
                    lambda item: self.s3.put_object(Bucket=bucket, Key=item[0], Body=item[1]), objects.items()
                )
            )

    def keep(self, path: str, document: object) -> None:
        """Write a JSON document into the data bucket."""
        self.put({path: json.dumps(document).encode()}, DATA)

    def kept(self, path: str) -> bytes | None:
        """What the data bucket holds at a path, or None."""
        try:
            return self.s3.get_object(Bucket=DATA, Key=path)["Body"].read()
        except self.s3.exceptions.NoSuchKey:
            return None

    def waiting(self, queue: str = "") -> int:
        """How many of our own messages are in a queue, that of changes if none is named, and come later."""
        name = "ApproximateNumberOfMessagesDelayed"
        answer = self.sqs.get_queue_attributes(QueueUrl=queue or self.queue, AttributeNames=[name])
        return int(answer["Attributes"][name])

    def claim(self, series: str) -> None:
        """Let a series be as it is while someone builds its index for the first time."""
        path = index_path(series, index_folder(self.roots["default"]))
        self.s3.delete_object(Bucket=DATA, Key=path)
        self.keep(f"{path}.lock", {"until": time.time() + LEASE_S})

    def remove(self, *keys: str) -> None:
        """Remove objects."""
        for key in keys:
            self.s3.delete_object(Bucket=BUCKET, Key=key)


def slices(folder: str, count: int = 2) -> dict[str, bytes]:
    """A small series, `0.dcm` and so on, with the patient planted in every header."""
    uid = f"{make_dicom.SERIES_UID}.{crc32(folder.encode())}"
    return {f"{folder}/{i}.dcm": one(i + 1, SeriesInstanceUID=uid) for i in range(count)}


def _noise(folder: str) -> dict[str, bytes]:
    """A series whose pictures cannot be made small."""
    side, random = 512, np.random.default_rng(0)
    square = {"Rows": side, "Columns": side, "PixelSpacing": [1.0, 1.0]}
    frames = (random.integers(0, 4096, (side, side), np.uint16).tobytes() for _ in range(25))
    return {f"{folder}/{i}.dcm": one(i + 1, **square, PixelData=frame) for i, frame in enumerate(frames)}


def _cut_off(folder: str) -> dict[str, bytes]:
    objects = slices(folder, 3)
    last = f"{folder}/2.dcm"
    return {**objects, last: objects[last][:-20]}


@contextmanager
def provided(moto: servers.Moto) -> Iterator[Archive]:
    """Write all of it."""
    s3, sqs, states = moto.client("s3"), moto.client("sqs"), moto.client("stepfunctions")
    with servers.ScriptedServer([servers.Answer(403)]) as closed:
        made = Archive(
            {
                "default": f"s3://{BUCKET}",
                "other": f"s3://{OTHER}/archive",
                "closed": f"{closed.url}/private",
            },
            s3,
            sqs,
            sqs.create_queue(QueueName="objects")["QueueUrl"],
            sqs.create_queue(QueueName="catalogue")["QueueUrl"],
        )
        for bucket in (BUCKET, OTHER, DATA):
            s3.create_bucket(Bucket=bucket)
        main = synthetic.series()
        made.put({f"{SERIES}/{name}": data for name, data in main.objects.items()})
        made.put(_cut_off("one-slice-cut-off") | _noise("noise") | undecodable("undecodable"))
        made.put(reports("reports-only"))
        made.put({"file-in-the-root.dcm": b"in no series"} | slices("being-indexed"))
        made.put({"manifests/wanted.csv": f"series\n{SERIES}\n".encode()})
        made.put(slices("archive/1.2.840.99.1"), OTHER)
        moto.configure({"stepfunctions": {"execute_state_machine": True}})
        states.create_state_machine(
            name="previews",
            definition='{"StartAt": "S", "States": {"S": {"Type": "Wait", "Seconds": 999, "End": true}}}',
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/any",
        )
        yield made
        for client in (s3, sqs, states):
            client.close()
