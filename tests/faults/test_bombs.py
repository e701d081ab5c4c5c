"""Small objects that ask for much: refused in one line before the memory is spent, beside what is sound."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bombs
import make_dicom as make
from commandline import SCRIPT
from dicom_series_preview.pixels.codecs.registry import codecs

# The interpreter with its libraries has some 700 MB of addresses; a thread has eight.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "DICOM_SERIES_PREVIEW_CONCURRENCY": "4"}
REFUSED = [*bombs.small_headers(), *bombs.large_headers()]
MAY_BE_DECODED = ("htj2k, near the limit", "jpeg 2000, near the limit")


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, Any]]:
    """What came of each bomb, in a process with an address space of 1.5 GiB."""
    process = subprocess.run(
        [sys.executable, str(Path(bombs.__file__))],
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    lines = [json.loads(line) for line in process.stdout.splitlines()]
    return {line["name"]: line for line in lines}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_it_costs(name: str, outcomes: dict[str, dict[str, Any]]) -> None:
    """A frame that is not what its header says, or cannot be, is refused, reduced or not, with no memory."""
    found = outcomes[name]
    for reason in found["outcomes"]:
        assert not reason.startswith("("), reason
        assert "\n" not in reason
    assert found["grown"] < 128 * 2**20


@pytest.mark.parametrize("name", bombs.near_limit())
def test_more_than_the_memory(name: str, outcomes: dict[str, dict[str, Any]]) -> None:
    """A frame within the limit that the memory does not bear is refused like any other."""
    for reason in outcomes[name]["outcomes"]:
        assert name in MAY_BE_DECODED or not reason.startswith("("), reason
    if name == "native, whole":
        assert "not enough memory" in outcomes[name]["outcomes"][0]


@pytest.mark.parametrize("name", bombs.harmless())
def test_harmless(name: str, outcomes: dict[str, dict[str, Any]]) -> None:
    """What is only odd is decoded."""
    assert all(outcome.startswith("(") for outcome in outcomes[name]["outcomes"])


def test_every_transfer_syntax_has_a_bomb() -> None:
    """No codec is left out; a native frame is as long as its pixels, and cannot be one."""
    tried = {
        bomb.pixels.transfer_syntax_uid for bomb in (bombs.small_headers() | bombs.near_limit()).values()
    }
    alike = {"4.52": "4.51", "4.53": "4.55", "4.54": "4.55", "4.56": "4.55"}
    left = {codec.uid.removeprefix(f"{bombs.ROOT}.") for codec in codecs()} - set(alike)
    left -= {uid.removeprefix(f"{bombs.ROOT}.") for uid in tried}
    # Deflated objects are below; the rest is native, or GDCM's, whose headers are read like JPEG 2000's.
    assert left <= {bombs.ROOT, "1.2.840.113619.5.2", "1.99", "4.92", "4.93"}


def limited(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The program in an address space of 1.5 GiB."""
    size = bombs.ADDRESS_SPACE
    return subprocess.run(
        [SCRIPT, *map(str, arguments)],
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size)),
    )


def instance(number: int, bomb: bombs.Bomb) -> bytes:
    """A frame as an object."""
    pixels = bomb.pixels
    image = make.image(
        number,
        Rows=pixels.rows,
        Columns=pixels.columns,
        BitsAllocated=pixels.bits_allocated,
        BitsStored=pixels.bits_stored,
        HighBit=pixels.high_bit,
        PixelData=make.encapsulate([[bomb.data]]),
        WindowCenter=40,
        WindowWidth=400,
    )
    # Not every UID is one that pydicom would write.
    return make.preamble(pixels.transfer_syntax_uid) + make.without_meta(make.encode(image, make.JPEG))


def test_series_of_bombs(tmp_path: Path) -> None:
    """The one sound slice of a series of bombs is shown; each bomb is a marked tile and a warning."""
    folder = tmp_path / "root" / "S"
    folder.mkdir(parents=True)
    found = bombs.small_headers()
    for number, (name, bomb) in enumerate(found.items()):
        (folder / name.replace(" ", "-")).write_bytes(instance(number, bomb))
    sound = make.image(
        99, Rows=64, Columns=64, PixelData=bytes(64 * 64 * 2), WindowCenter=40, WindowWidth=400
    )
    (folder / "sound").write_bytes(make.encode(sound))
    done = limited("mosaic", "S", tmp_path / "a.webp", "--root", tmp_path / "root", "--tile-width", "5")
    assert done.returncode == 0, done.stderr
    assert f"1 of {len(found) + 1} slices" in done.stderr
    for name in found:
        assert f"warning: {name.replace(' ', '-')} cannot be shown: " in done.stderr
    assert "Traceback" not in done.stderr


def many_frames() -> bytes:
    """An image of as many frames as it has bytes."""
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    return make.encode(
        make.image(1, NumberOfFrames=2**31 - 1, Rows=1, Columns=1, PixelData=bytes(600_000), **bits)
    )


LARGE = {
    "deflated pixels": (
        lambda: bombs.deflated_object(1100 * 2**20),
        "its deflated data set inflates to more than 1073741824 bytes",
    ),
    "deflated header": (
        lambda: bombs.deflated_object(0, 200 * 2**20),
        "its deflated header inflates to more than 67108864 bytes",
    ),
    "native": (
        lambda: make.encode(make.image(1, Rows=65535, Columns=65535, PixelData=bytes(100))),
        "the frame has 8,589,672,450 bytes, more than the limit of 1,073,741,824",
    ),
    "frames": (many_frames, "600000 frames, more than the limit of 500000"),
    "encapsulated": (
        lambda: instance(1, bombs.large_headers()["jpeg 2000, header too"]),
        "the frame has 4,294,836,225 bytes, more than the limit of 1,073,741,824",
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_object_too_large(name: str, tmp_path: Path) -> None:
    """An object that says it is, or inflates to, more than a machine has is one line and no picture."""
    folder = tmp_path / "root" / "S"
    folder.mkdir(parents=True)
    made, said = LARGE[name]
    (folder / "1.dcm").write_bytes(made())
    done = limited("mosaic", "S", tmp_path / "a.webp", "--root", tmp_path / "root")
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert line.startswith("error: ")
    assert said in line
    assert not (tmp_path / "a.webp").exists()
