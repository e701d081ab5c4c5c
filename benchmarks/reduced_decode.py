"""What decoding at reduced resolution spares, and what it changes.

Usage: python benchmarks/reduced_decode.py [FOLDER]

The first table compares the CPU time from a codestream to its tile, whole and reduced, in one run. Of the
second each row is one set of slices, encoded anew as lossless JPEG 2000: how many were shown reduced, how far
their tiles lie from those of whole frames, and the ratio of all CPU time. Drawn slices always; the series
below FOLDER/series where one is given.
"""

from __future__ import annotations

import io
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import openjpeg.utils
from PIL import Image
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from dicom_series_preview.contrast import ContrastSpec, parse_contrast
from dicom_series_preview.frames import FrameBytes
from dicom_series_preview.headers import Contrast, PixelDescription
from dicom_series_preview.index import Slice
from dicom_series_preview.service.reduced import decode_for_tile, tile_of, wanted_reduction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

ROOT = "1.2.840.10008.1.2.4"
LIMIT = 2**30
REPEATS = 7


def drawn(side: int, kind: str = "anatomy") -> NDArray[np.int16]:
    """Slices with values of CT: rounded bodies with noise, or hard edges only."""
    y, x = np.mgrid[:side, :side] * (512 / side)
    if kind == "stripes":
        return np.where(((x + y) // 7) % 2, 1500, -800).astype(np.int16)
    if kind == "checkers":
        return np.where((x // 16 + y // 16) % 2, 3000, -1000).astype(np.int16)
    if kind == "discs":
        return np.where((x % 64 - 32) ** 2 + (y % 64 - 32) ** 2 < 400, 2000, -900).astype(np.int16)
    if kind == "zone plate":
        return (1000 + 900 * np.cos((x**2 + y**2) / 1200)).astype(np.int16)
    values = np.full((side, side), -1000.0)
    values[((x - 256) / 220) ** 2 + ((y - 256) / 160) ** 2 < 1] = 40
    for centre in (150, 362):
        values[((x - centre) / 70) ** 2 + ((y - 250) / 100) ** 2 < 1] = -850
    values[(x - 256) ** 2 + (y - 360) ** 2 < 900] = 700
    rng = np.random.default_rng(1)
    return np.rint(values + 20 * np.sin(x / 9) * np.cos(y / 7) + rng.normal(0, 12, values.shape)).astype(
        np.int16
    )


def jpeg2000(samples: NDArray[Any], *, colour: bool = False) -> bytes:
    """Samples as lossless JPEG 2000."""
    return bytes(
        openjpeg.utils.encode_array(
            np.ascontiguousarray(samples),
            bits_stored=samples.dtype.itemsize * 8,
            photometric_interpretation=1 if colour else 2,
        )
    )


def jpeg(samples: NDArray[np.uint8]) -> bytes:
    """Samples as baseline JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def frame_of(
    codestream: bytes, uid: str, samples: NDArray[Any], contrast: Contrast | None = None
) -> FrameBytes:
    """A codestream as a slice to show."""
    bits, colour = samples.dtype.itemsize * 8, samples.ndim == 3
    pixels = PixelDescription(
        uid,
        *samples.shape[:2],
        samples_per_pixel=3 if colour else 1,
        photometric_interpretation="RGB" if colour else "MONOCHROME2",
        bits_allocated=bits,
        bits_stored=bits,
        high_bit=bits - 1,
        pixel_representation=int(samples.dtype.kind == "i"),
    )
    item = Slice(0, "", 0, "", "", 1, 0, "Z", 0.0, None, pixels, contrast or Contrast(), None, None)
    return FrameBytes(item, codestream)


def tile(
    frame: FrameBytes, width: int, spec: ContrastSpec, *, reduced: bool
) -> tuple[NDArray[np.uint8], int]:
    """A frame's tile, and the reduction it was made with."""
    pixels = frame.slice.pixels
    size = width, max(1, round(width * pixels.rows / pixels.columns))
    reduction = wanted_reduction(frame.slice, size) if reduced else 1
    decoded = decode_for_tile(frame, size, (spec,), reduction, LIMIT)
    return tile_of(decoded, frame.slice, spec, size), decoded.reduction


def cpu_ms(work: Callable[[], object]) -> float:
    """The least CPU time of several runs."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times) * 1000


def time_table() -> None:
    """Print what a tile of 128 pixels costs."""
    body = drawn(512)
    large = drawn(2048)
    grey = np.clip(body / 8 + 128, 0, 255).astype(np.uint8)
    large_grey = np.clip(large / 8 + 128, 0, 255).astype(np.uint8)
    colour, large_colour = (np.stack([a, np.roll(a, 9, 0), 255 - a], axis=-1) for a in (grey, large_grey))
    htj2k = bytes(imagecodecs.htj2k_encode(body, reversible=True))
    cases = (
        ("JPEG 2000 512 x 512, 16 bits, lung window", frame_of(jpeg2000(body), f"{ROOT}.90", body), "lung"),
        ("JPEG 2000 512 x 512, 16 bits, brain window", frame_of(jpeg2000(body), f"{ROOT}.90", body), "brain"),
        (
            "JPEG 2000 2048 x 2048, 16 bits, lung window",
            frame_of(jpeg2000(large), f"{ROOT}.90", large),
            "lung",
        ),
        (
            "JPEG 2000 512 x 512, colour",
            frame_of(jpeg2000(colour, colour=True), f"{ROOT}.90", colour),
            "auto",
        ),
        ("HTJ2K 512 x 512, 16 bits, lung window", frame_of(htj2k, f"{ROOT}.201", body), "lung"),
        ("JPEG 512 x 512, grey", frame_of(jpeg(grey), f"{ROOT}.50", grey), "256/128"),
        ("JPEG 512 x 512, colour", frame_of(jpeg(colour), f"{ROOT}.50", colour), "auto"),
        ("JPEG 2048 x 2048, grey", frame_of(jpeg(large_grey), f"{ROOT}.50", large_grey), "256/128"),
        ("JPEG 2048 x 2048, colour", frame_of(jpeg(large_colour), f"{ROOT}.50", large_colour), "auto"),
    )
    print(f"{'codestream -> tile of 128 pixels':46}{'whole ms':>10}{'reduced ms':>12}{'ratio':>8}{'1/n':>6}")
    for name, frame, contrast in cases:
        spec = parse_contrast(contrast)
        whole = cpu_ms(lambda frame=frame, spec=spec: tile(frame, 128, spec, reduced=False))
        less = cpu_ms(lambda frame=frame, spec=spec: tile(frame, 128, spec, reduced=True))
        used = tile(frame, 128, spec, reduced=True)[1]
        print(f"{name:46}{whole:10.1f}{less:12.1f}{whole / less:8.1f}{used:6}")


def series_slices(folder: Path) -> Iterator[tuple[str, FrameBytes, tuple[str, ...]]]:
    """Up to six grey slices of each series, with the contrasts to show them with."""
    for series in sorted(folder.glob("series/*")):
        files = sorted(series.iterdir())
        for path in files[:: max(1, len(files) // 6)]:
            try:
                dataset = dcmread(path)
                samples = dataset.pixel_array
            except (InvalidDicomError, AttributeError, NotImplementedError, RuntimeError, ValueError):
                continue
            if samples.ndim != 2 or samples.dtype.itemsize != 2 or min(samples.shape) < 256:
                continue
            contrast = Contrast(
                float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
            )
            contrasts = ("lung", "bone", "abdomen", "brain") if dataset.Modality == "CT" else ()
            low, high = (
                np.percentile(samples, (0.1, 99.9)) * contrast.rescale_slope + contrast.rescale_intercept
            )
            yield (
                series.name,
                frame_of(jpeg2000(samples), f"{ROOT}.90", samples, contrast),
                (
                    *contrasts,
                    f"{max(1.0, high - low)}/{(high + low) / 2}",
                ),
            )


def error_table(folder: Path | None) -> None:
    """Print how far reduced tiles lie from those of whole frames."""
    found: dict[tuple[str, str], list[tuple[int, float, float, float]]] = defaultdict(list)
    for kind in ("anatomy", "discs", "stripes", "checkers", "zone plate"):
        samples = drawn(512, kind)
        frame = frame_of(jpeg2000(samples), f"{ROOT}.90", samples)
        for contrast in ("lung", "bone", "abdomen", "5000/1000"):
            measure(found[kind, contrast], frame, contrast)
    for name, frame, contrasts in series_slices(folder) if folder else ():
        for contrast in contrasts:
            measure(found[name, contrast if contrast[0].isalpha() else "full range"], frame, contrast)
    print(
        f"\n{'slices':30}{'contrast':14}{'tiles':>6}{'reduced':>9}{'mean rms':>10}{'largest':>9}{'ratio':>8}"
    )
    for (name, contrast), errors in found.items():
        reduced = [error for reduction, error, _, _ in errors if reduction > 1]
        ratio = sum(row[2] for row in errors) / sum(row[3] for row in errors)
        mean, largest = (f"{f(reduced):.2f}" if reduced else "-" for f in (np.mean, np.max))
        print(f"{name:30}{contrast:14}{len(errors):6}{len(reduced):9}{mean:>10}{largest:>9}{ratio:8.1f}")


def measure(errors: list[tuple[int, float, float, float]], frame: FrameBytes, contrast: str) -> None:
    """Add reduction, RMS difference and CPU times of tiles of some sizes."""
    spec = parse_contrast(contrast)
    for shrink in (4, 8, 16):
        width = frame.slice.pixels.columns // shrink
        start = time.process_time()
        reduced, reduction = tile(frame, width, spec, reduced=True)
        middle = time.process_time()
        whole, _ = tile(frame, width, spec, reduced=False)
        end = time.process_time()
        error = float(np.sqrt(np.mean((reduced.astype(float) - whole) ** 2)))
        errors.append((reduction, error, end - middle, middle - start))


if __name__ == "__main__":
    time_table()
    error_table(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
