"""Measure what one series costs in the deployment: the figures that docs/scale.md multiplies.

Usage: .venv-aws/bin/python benchmarks/scale.py [SLICES | pollers | bomb]      after `make build-aws`

Runs the built functions in the Lambda runtime on this machine, with a real S3 server, on series of 512 x 512
slices, and prints for each step the requests to S3, the bytes read, CPU seconds and wall clock seconds.
`pollers` lets 1, 5 and 10 sandboxes take the events of one series at once; `bomb` gives one call 999 messages
of small series, and one of 115 objects that inflate to 1 GB each. Both then process the messages that follow
in the queue, as Lambda does.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

PROJECT = Path(__file__).parents[1]
BUILT = PROJECT / ".aws-sam" / "build"
sys.path.insert(0, str(PROJECT / "tests" / "support"))
sys.path += [str(BUILT / name / "python") for name in ("DependenciesLayer", "PackageLayer")]

import bombs
import make_dicom
import stack as stacks
import synthetic
from dicom_series_preview.archive.names import index_folder, index_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime import Function

ROUNDS = 5
SLICES = 300
MESSAGES = 30


def main(slices: int) -> None:
    """Print the figures."""
    with stacks.deployed(BUILT) as stack:
        made = synthetic.series("template", slices, side=512, others=False)
        series = [f"{uuid.uuid4()}" for _ in range(3 * (ROUNDS + 1))]
        s3 = stack.s3.client()
        for name in series:
            for file_name, data in made.objects.items():
                s3.put_object(Bucket=stacks.DICOM_BUCKET, Key=f"{name}/{file_name}", Body=data)
        print(f"{slices} slices of {len(next(iter(made.objects.values())))} bytes; the best of {ROUNDS}")
        batch = str(uuid.uuid4())

        def item(name: str) -> None:
            entry = {"root": "default", "series": name, "mosaic": {}}
            stack.functions["BatchItemFunction"].invoke({"batch": batch, "item": entry}).document()

        def update(name: str) -> None:
            event = {"Records": records([f"{name}/{file_name}" for file_name in made.objects])}
            stack.functions["IndexUpdatesFunction"].invoke(event).document()

        def mosaic(name: str) -> None:
            answer = stack.get(f"/series/{name}/mosaic")
            if answer.status != 200:
                raise RuntimeError(answer.body)

        first, second, third = (series[at::3] for at in range(3))
        measure(stack, "BatchItemFunction", "batch item: index and mosaic", item, first)
        measure(stack, "IndexUpdatesFunction", "events: index", update, second)
        measure(stack, "MosaicFunction", "GET mosaic, no index", mosaic, third)
        measure(stack, "MosaicFunction", "GET mosaic, index kept", mosaic, second)
        measure(stack, "MosaicFunction", "GET mosaic, picture kept", mosaic, second)
        key = index_path(second[0], index_folder(f"s3://{stacks.DICOM_BUCKET}"))
        size = s3.head_object(Bucket=stacks.DATA_BUCKET, Key=key)["ContentLength"]
        print(f"an index has {size} bytes")


def measure(
    stack: stacks.Stack, function: str, title: str, call: Callable[[str], None], names: list[str]
) -> None:
    """Call a function for each of the series; the first only warms it up."""
    processor, wall, seen = [], [], []
    for name in names:
        before = len(stack.requests(function))
        started, used = time.perf_counter(), stack.functions[function].processor_s()
        call(name)
        wall.append(time.perf_counter() - started)
        processor.append(stack.functions[function].processor_s() - used)
        seen = stack.requests(function)[before:]
    kinds = Counter("DELETE" if one.method == "POST" else one.kind for one in seen)
    read = sum(one.length or 0 for one in seen)
    requests = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    peak = stack.functions[function].peak_bytes() / 1e6
    print(
        f"{title}: {requests}; {read / 1e6:.2f} MB in ranges; cold {processor[0]:.2f} s and warm "
        f"{min(processor[1:]):.2f} s of processor, warm {min(wall[1:]):.2f} s of wall clock; {peak:.0f} MB"
    )


def records(keys: list[str]) -> list[dict[str, str]]:
    """Return events of objects, in the function's form."""
    details = [{"bucket": {"name": stacks.DICOM_BUCKET}, "object": {"key": key}} for key in keys]
    return [
        {"messageId": str(number), "body": json.dumps({"detail": detail})}
        for number, detail in enumerate(details)
    ]


def updates(stack: stacks.Stack, sandboxes: int) -> Function:
    """Start the function of updates in so many sandboxes, all warm."""
    endpoints = {
        name: value
        for name, value in stack.functions["IndexUpdatesFunction"].environment.items()
        if name.startswith("AWS_ENDPOINT_URL")
    }
    function = stacks.function_of(
        stack.artefacts, stack.evaluator, "IndexUpdatesFunction", endpoints, stack.logs, limit=sandboxes
    )
    with ThreadPoolExecutor(sandboxes) as pool:
        list(pool.map(function.invoke, [{"Records": []}] * sandboxes))
    return function


def drain(stack: stacks.Stack, function: Function) -> tuple[int, int]:
    """Feed the function its own messages until none are left; return the calls, and messages handed back."""
    sqs = stacks.client("sqs", stack.states, "admin")
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"]
    calls = handed_back = 0
    while True:
        received = []
        while part := sqs.receive_message(QueueUrl=stacks.QUEUE_URL, MaxNumberOfMessages=10).get("Messages"):
            received += part
        if received:
            event = [{"messageId": one["MessageId"], "body": one["Body"]} for one in received]
            answer = function.invoke({"Records": event}).document()
            calls, handed_back = calls + 1, handed_back + len(answer["batchItemFailures"])
            for one in received:
                sqs.delete_message(QueueUrl=stacks.QUEUE_URL, ReceiptHandle=one["ReceiptHandle"])
            continue
        found = sqs.get_queue_attributes(QueueUrl=stacks.QUEUE_URL, AttributeNames=names)["Attributes"]
        if not any(int(found[name]) for name in names):
            return calls, handed_back
        time.sleep(0.5)


def told(stack: stacks.Stack, before: int) -> str:
    """Describe the requests since, by kind, and how many of the GETs are for headers."""
    seen = stack.requests("IndexUpdatesFunction")[before:]
    kinds = Counter("DELETE" if one.method == "POST" else one.kind for one in seen)
    headers = sum(one.kind == "GET" and one.target.startswith(f"/{stacks.DICOM_BUCKET}/") for one in seen)
    return f"{', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}; {headers} headers' GETs"


def pollers() -> None:
    """Print the cost of one series when several sandboxes take its events at once."""
    with stacks.deployed(BUILT) as stack:
        made = synthetic.series("template", SLICES, side=64, others=False)
        s3 = stack.s3.client()
        for sandboxes in (1, 5, 10):
            function, name = updates(stack, sandboxes), f"{uuid.uuid4()}"
            for file_name, data in made.objects.items():
                s3.put_object(Bucket=stacks.DICOM_BUCKET, Key=f"{name}/{file_name}", Body=data)
            keys = [f"{name}/{file_name}" for file_name in made.objects]
            events = [{"Records": records(keys[at : at + MESSAGES])} for at in range(0, len(keys), MESSAGES)]
            before, started = len(stack.requests("IndexUpdatesFunction")), time.perf_counter()
            with ThreadPoolExecutor(sandboxes) as pool:
                calls = len([answer.document() for answer in pool.map(function.invoke, events)])
            wall = time.perf_counter() - started
            more, handed_back = drain(stack, function)
            print(
                f"{sandboxes} at once: {told(stack, before)}; {calls} + {more} calls, the first {calls} in "
                f"{wall:.2f} s; {handed_back} messages handed back"
            )
            function.close()


def bomb() -> None:
    """Print the result of one call with 999 innocent messages and a series that takes minutes."""
    with stacks.deployed(BUILT) as stack:
        s3, function = stack.s3.client(), updates(stack, 1)
        small = [make_dicom.encode(make_dicom.image(number + 1)) for number in range(3)]
        keys = [f"{uuid.uuid4()}/{number}.dcm" for _ in range(333) for number in range(3)]
        large = f"{uuid.uuid4()}"
        data = bombs.deflated_object(10**9)

        def put(item: tuple[str, bytes]) -> None:
            s3.put_object(Bucket=stacks.DICOM_BUCKET, Key=item[0], Body=item[1])

        objects = [(key, small[int(key[-5])]) for key in keys]
        objects += [(f"{large}/{number}.dcm", data) for number in range(115)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, objects))
        before, started = len(stack.requests("IndexUpdatesFunction")), time.perf_counter()

        def tell(title: str, calls: int, handed_back: int) -> None:
            found = s3.list_objects_v2(Bucket=stacks.DATA_BUCKET, Prefix="indices/")["Contents"]
            indices = sum(entry["Key"].endswith("_index.parquet") for entry in found)
            print(
                f"{title}: {time.perf_counter() - started:.0f} s, {calls} calls, {indices} indices, "
                f"{handed_back} messages handed back; {told(stack, before)}; "
                f"{function.peak_bytes() / 1e6:.0f} MB"
            )

        answer = function.invoke({"Records": records([f"{large}/0.dcm", *keys])}).document()
        tell("the first call", 1, len(answer["batchItemFailures"]))
        tell("in the end", *drain(stack, function))
        function.close()


if __name__ == "__main__":
    wanted = sys.argv[1] if sys.argv[1:] else str(SLICES)
    {"pollers": pollers, "bomb": bomb}.get(wanted, lambda: main(int(wanted)))()
