import itertools
import json
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import counting
import make_dicom
import servers
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.names import index_folder, index_path
from dicom_series_preview.doors.aws.environment import Deployment
from dicom_series_preview.doors.aws.rechecks import Recheck
from dicom_series_preview.doors.aws.updates import update_indices

MESSAGES = 33
BUCKET, DATA = "growing", "growing-data"
SERIES = {"large": 300, **{f"small{i}": 3 for i in range(10)}}
# In an order in which every few events speak of several series.
KEYS = [f"{series}/{i}.dcm" for series, count in SERIES.items() for i in range(count)]
random.Random(0).shuffle(KEYS)


@dataclass
class Queue:
    """A standard queue of SQS in seconds of its own: they pass when every poller would have to wait for them.

    Attributes:
        batch: How many messages one call is given.
        now_s: Its time.
        failed: How many messages were handed back.
    """

    batch: int
    now_s: int = 0
    failed: int = 0
    _waiting: list[tuple[int, str, str]] = field(default_factory=list)
    _busy: int = 0
    _ended: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _numbers: Any = field(default_factory=itertools.count)

    def put(self, *bodies: str, delay_s: int = 0) -> None:
        """Send messages."""
        with self._changed:
            for body in bodies:
                self._waiting.append((self.now_s + delay_s, str(next(self._numbers)), body))
            self._changed.notify_all()

    def send(self, rechecks: Any) -> list[Recheck]:
        """`Queue.send` of the function."""
        for recheck, delay_s in rechecks:
            self.put(recheck.body(), delay_s=delay_s)
        return []

    def end(self) -> None:
        """No more events come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def take(self) -> dict[str, str]:
        """A batch of messages; none when all is done. `done` must follow."""
        with self._changed:
            while True:
                visible = [entry for entry in self._waiting if entry[0] <= self.now_s][: self.batch]
                if visible:
                    self._waiting = [entry for entry in self._waiting if entry not in visible]
                    self._busy += 1
                    return {identifier: body for _, identifier, body in visible}
                if self._ended and not self._busy:
                    if not self._waiting:
                        return {}
                    self.now_s = min(entry[0] for entry in self._waiting)
                    self._changed.notify_all()
                else:
                    self._changed.wait()

    def done(self, messages: dict[str, str], handed_back: set[str]) -> None:
        """Delete what is not handed back; that comes again."""
        with self._changed:
            self._busy -= 1
            self.failed += len(handed_back)
            self._waiting += [(self.now_s, name, messages[name]) for name in handed_back]
            self._changed.notify_all()


@dataclass(frozen=True)
class Taken:
    """What the updates of a series took.

    Attributes:
        headers: By object, its GETs.
        gets: All GETs.
        indexed: By series, how many objects are in its index in the end.
        failed: Messages that were handed back.
        left: What the data bucket holds in the end.
    """

    headers: Counter[str]
    gets: int
    indexed: dict[str, int]
    failed: int
    left: set[str]


def growing(moto: servers.Moto, pollers: int) -> Taken:
    """Let series come in two halves, while pollers take the events, 33 each time."""
    s3 = moto.client("s3")
    archive, data = f"{BUCKET}-{pollers}", f"{DATA}-{pollers}"
    for bucket in (archive, data):
        s3.create_bucket(Bucket=bucket)
    queue = Queue(MESSAGES)
    with counting.CountingProxy(moto.endpoint) as proxy:
        environment = {**moto.environment, "AWS_ENDPOINT_URL": proxy.url}

        def poll() -> None:
            deployment = Deployment({"default": f"s3://{archive}"}, f"s3://{data}", 1, environment)
            while messages := queue.take():
                summary = update_indices(messages, deployment, lambda: 300.0, queue)
                queue.done(messages, summary.failed_messages)

        with ThreadPoolExecutor(pollers) as pool:
            running = [pool.submit(poll) for _ in range(pollers)]
            for keys in (KEYS[: len(KEYS) // 2], KEYS[len(KEYS) // 2 :]):
                for key in keys:
                    number = int(key.partition("/")[2].removesuffix(".dcm"))
                    s3.put_object(Bucket=archive, Key=key, Body=make_dicom.encode(make_dicom.image(number)))
                events = [{"detail": {"bucket": {"name": archive}, "object": {"key": key}}} for key in keys]
                queue.put(*map(json.dumps, events))
            queue.end()
            for future in running:
                future.result()
        gets = [urlsplit(seen.target).path for seen in proxy.seen if seen.kind == "GET"]
    indexed = {}
    for series in SERIES:
        body = s3.get_object(Bucket=data, Key=index_path(series, index_folder(f"s3://{archive}")))[
            "Body"
        ].read()
        indexed[series] = len(Index.from_parquet(body).table)
    left = {item["Key"] for item in s3.list_objects_v2(Bucket=data)["Contents"]}
    s3.close()
    headers = Counter(path for path in gets if path.startswith(f"/{archive}/"))
    return Taken(headers, len(gets), indexed, queue.failed, left)


def test_a_series_is_read_once_however_many_poll(moto: servers.Moto) -> None:
    """Each header is read by one of 5 or 10, and GETs in all are at most a tenth more than one makes."""
    of = {pollers: growing(moto, pollers) for pollers in (1, 5, 10)}
    for taken in of.values():
        assert (taken.indexed, taken.failed) == (SERIES, 0)
        assert (len(taken.headers), set(taken.headers.values())) == (len(KEYS), {1})
        assert {key.rpartition("/")[2] for key in taken.left} == {
            f"{series}_index.parquet" for series in SERIES
        }
        assert taken.gets <= 1.1 * of[1].gets
