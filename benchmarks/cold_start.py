"""Measure the imports of a cold start, in the built layers.

Usage: .venv-aws/bin/python benchmarks/cold_start.py [FUNCTION] [LINES]      after `make build-aws`

Imports functions/FUNCTION/app.py (mosaic) several times in an interpreter with the layers and the Lambda
runtime's packages, and prints the quickest time of each module, including those that it was the first to
import. tests/aws/test_cold_start.py measures whole requests, and limits what may be imported at all.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parents[1]
BUILT = PROJECT / ".aws-sam" / "build"
sys.path.insert(0, str(PROJECT / "tests" / "support"))

import cloudformation
import runtime
import stack as stacks

ROUNDS = 15


def main(folder: str, lines: int) -> None:
    """Print the slowest modules, with their imports."""
    with tempfile.TemporaryDirectory() as scratch:
        artefacts = runtime.Artefacts.take(BUILT, Path(scratch))
        functions = artefacts.of_type("AWS::Serverless::Function")
        name = next(name for name, entry in functions.items() if entry["CodeUri"].endswith(f"/{folder}"))
        values = {"DicomBucketName": "dicom", "DataBucket": "data", "BatchMachine": stacks.MACHINE_ARN}
        evaluator = cloudformation.Evaluator(artefacts.template, **values)
        function = stacks.function_of(artefacts, evaluator, name, {}, Path(scratch))
        command = [sys.executable, "-S", "-s", "-X", "importtime", "-c", "import app"]
        quickest: dict[str, tuple[int, int]] = {}
        for _ in range(ROUNDS):
            told = subprocess.run(
                command, cwd=function.folder, env=dict(function.environment), capture_output=True, check=True
            ).stderr.decode()
            for depth, module, micros in importtimes(told):
                quickest[module] = min(quickest.get(module, (micros, depth)), (micros, depth))
    ranked = sorted(quickest.items(), key=lambda entry: -entry[1][0])
    for module, (micros, depth) in ranked[:lines]:
        print(f"{micros / 1000:7.1f} ms  {'  ' * depth}{module}")
    print(f"{len(quickest)} modules")


def importtimes(text: str) -> list[tuple[int, str, int]]:
    """Yield each module's depth, name and microseconds, its own imports included, from -X importtime."""
    found = re.findall(r"^import time:\s+\d+ \|\s+(\d+) \| ( *)(\S+)$", text, re.MULTILINE)
    return [(len(indent) // 2, name, int(micros)) for micros, indent, name in found]


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else "mosaic", int(sys.argv[2]) if sys.argv[2:] else 40)
