"""Fuzz headers and codecs for a while.

Usage: python tests/fuzz/run.py [--minutes 10] [--seed N]

Works in child processes, so that a codec that crashes or hangs is a finding too. Each finding is printed with
its seed and written to the folder that --findings names. DICOM_TEST_DATA adds real headers. Ends with 1 if
anything was found.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from dicom_series_preview.sources.headers.convert import Converter
from fuzz import targets
from fuzz.mutations import mutated, random_changes

EXAMPLES = 400
# A batch takes seconds; this is only for what hangs.
HANGS_AFTER_S = 300


def batch(seed: int, current: Path) -> int:
    """Run one batch in this process; what is tried is in a file before it is, in case the process dies."""
    warnings.simplefilter("error")
    rng = random.Random(seed)
    objects, frames = targets.headers(), targets.codestreams()
    if folder := os.environ.get("DICOM_TEST_DATA"):
        real = targets.real_headers(Path(folder))
        objects |= {name: real[name] for name in rng.sample(sorted(real), min(8, len(real)))}
    findings = 0
    # By the object that was changed: as if the changed ones were a series.
    converters: defaultdict[str, Converter] = defaultdict(Converter)
    for _ in range(EXAMPLES):
        is_header = rng.random() < 0.3
        name = rng.choice(sorted(objects if is_header else frames))
        data = mutated(objects[name] if is_header else frames[name].data, random_changes(rng))
        current.with_suffix(".name").write_text(name)
        current.write_bytes(data)
        try:
            if is_header:
                targets.check_header(data, rng.choice((0, 132, 400, 5120)))
                targets.check_after(data, converters[name])
            else:
                targets.check_codestream(frames[name], data, rng.choice((1, 1, 2, 4, 8)))
                targets.check_description(frames[name], **_another_description(rng))
        except Exception:  # noqa: BLE001 - every other way out is a finding
            findings += 1
            print(f"FOUND with seed {seed} in {name}:\n{traceback.format_exc()}", flush=True)
            current.with_name(f"{seed}-{findings}-{name.replace('/', '_').replace(' ', '_')}").write_bytes(
                data
            )
    return int(findings > 0)


def _another_description(rng: random.Random) -> dict[str, object]:
    choices = {
        "rows": range(60),
        "columns": range(60),
        "samples_per_pixel": (0, 1, 3, 4),
        "bits_allocated": (1, 8, 12, 16, 24, 32, 64),
        "bits_stored": range(40),
        "high_bit": range(-1, 40),
        "pixel_representation": (0, 1),
        "planar_configuration": (0, 1),
        "photometric_interpretation": (
            "MONOCHROME1",
            "PALETTE COLOR",
            "RGB",
            "YBR_FULL",
            "YBR_FULL_422",
            "YBR_RCT",
        ),
    }
    return {name: rng.choice(choices[name]) for name in rng.sample(sorted(choices), rng.randint(1, 3))}


def main() -> int:
    """Start batches until the time is up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument(
        "--seed", type=int, default=None, help="the first seed; random, and printed, by default"
    )
    parser.add_argument("--findings", type=Path, default=None, help="where what was found is written")
    parser.add_argument("--batch", action="store_true", help="run the one batch of --seed in this process")
    options = parser.parse_args()
    findings = options.findings or Path(tempfile.mkdtemp(prefix="fuzz-"))
    findings.mkdir(parents=True, exist_ok=True)
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    current = findings / f"current-{seed}"
    if options.batch:
        return batch(seed, current)
    print(f"fuzzing for {options.minutes:g} minutes, first seed {seed}, findings in {findings}", flush=True)
    end = time.monotonic() + 60 * options.minutes
    batches = failed = 0
    while time.monotonic() < end:
        arguments = ["--batch", "--seed", str(seed), "--findings", str(findings)]
        current = findings / f"current-{seed}"
        try:
            status = subprocess.run(
                [sys.executable, __file__, *arguments], timeout=HANGS_AFTER_S, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            status = -1
        if status not in (0, 1):
            name = current.with_suffix(".name")
            what = "hung" if status == -1 else f"died with {status}"
            print(
                f"FOUND with seed {seed}: {what} in {name.read_text() if name.exists() else '?'}: {current}",
                flush=True,
            )
        else:
            current.unlink(missing_ok=True)
            current.with_suffix(".name").unlink(missing_ok=True)
        batches, failed, seed = batches + 1, failed + (status != 0), seed + 1
    print(
        f"{batches} batches of {EXAMPLES} examples, the last seed {seed - 1}; {failed} with findings",
        flush=True,
    )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
