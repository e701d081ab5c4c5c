"""What one series costs in the deployment: the figures that docs/scale.md multiplies.

Usage: .venv-aws/bin/python benchmarks/scale.py [SLICES]      after `make build-aws`

Runs the built functions in the Lambda runtime on this machine, with a real S3 server, on series of 512 x 512
slices, and prints for each step the requests to S3, the bytes read, the processor's seconds and the wall
clock's.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

PROJECT = Path(__file__).parents[1]
BUILT = PROJECT / ".aws-sam" / "build"
sys.path[:0] = [str(PROJECT / "tests" / name) for name in ("", "aws", "e2e")]
sys.path += [str(BUILT / name / "python") for name in ("DependenciesLayer", "PackageLayer")]

import stack as stacks
import synthetic

from dicom_series_preview.names import index_folder, index_path

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 5


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
            details = [
                {"bucket": {"name": stacks.DICOM_BUCKET}, "object": {"key": f"{name}/{file_name}"}}
                for file_name in made.objects
            ]
            records = [
                {"messageId": str(number), "body": json.dumps({"detail": detail})}
                for number, detail in enumerate(details)
            ]
            stack.functions["IndexUpdatesFunction"].invoke({"Records": records}).document()

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
    """Call a function for each of the series, the first of which only warms it up."""
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


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 300)
