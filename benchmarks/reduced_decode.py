"""What decoding at reduced resolution spares, and what it changes.

Usage: python benchmarks/reduced_decode.py [FOLDER]

Each row is a mosaic of 36 slices, encoded anew as lossless JPEG 2000 (or as said): how many tiles were made
of reduced frames, how far they lie from those of whole frames (RMS, in grey levels), and the CPU time for a
tile, from its codestream on, in milliseconds: as a single image, which is always decoded whole, and in the
mosaic. Drawn series always; the series below FOLDER/series where one is given.
"""

from __future__ import annotations

import io
import math
import sys
import time
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import openjpeg.utils
from PIL import Image
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.errors import InvalidDicomError
from pydicom.uid import HTJ2KLossless, JPEG2000Lossless, JPEGBaseline8Bit

from dicom_series_preview.frames import Terms
from dicom_series_preview.requests import MosaicRequest
from dicom_series_preview.series import IndexCache
from dicom_series_preview.service import PreviewService
from dicom_series_preview.service.tiles import paint
from dicom_series_preview.settings import Limits
from dicom_series_preview.storage import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

TERMS = Terms()
TILES = 36
REPEATS = 5


@dataclass(frozen=True, slots=True)
class Series:
    """A series of compressed slices, and the contrasts to show it with."""

    name: str
    objects: dict[str, bytes]
    contrasts: tuple[str, ...]
    width: int


def drawn(kind: str, number: int, side: int = 512) -> NDArray[np.int16]:
    """A slice with values of CT: rounded bodies with noise, or hard edges only."""
    y, x = np.mgrid[:side, :side] * (512 / side) + number * 3.7
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
    noise = np.random.default_rng(number).normal(0, 12, values.shape)
    return np.rint(values + 20 * np.sin(x / 9) * np.cos(y / 7) + noise).astype(np.int16)


def jpeg2000(samples: NDArray[Any]) -> bytes:
    """Samples as lossless JPEG 2000."""
    return bytes(
        openjpeg.utils.encode_array(
            np.ascontiguousarray(samples),
            bits_stored=samples.dtype.itemsize * 8,
            photometric_interpretation=1 if samples.ndim == 3 else 2,
        )
    )


def jpeg(samples: NDArray[np.uint8]) -> bytes:
    """Samples as baseline JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def encoded(dataset: Dataset, samples: NDArray[Any], syntax: str = JPEG2000Lossless) -> bytes:
    """A data set as a DICOM file with compressed pixels."""
    if syntax == JPEGBaseline8Bit:
        codestream = jpeg(samples)
    elif syntax == HTJ2KLossless:
        codestream = bytes(imagecodecs.htj2k_encode(samples, reversible=True))
    else:
        codestream = jpeg2000(samples)
    bits = samples.dtype.itemsize * 8
    dataset.Rows, dataset.Columns = samples.shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelData = encapsulate([codestream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def header(number: int, *, signed: bool, colour: bool) -> Dataset:
    """The header of a drawn slice."""
    made = Dataset()
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    made.SOPInstanceUID, made.SeriesInstanceUID = f"1.2.3.{number + 1}", "1.2.3"
    made.InstanceNumber = number
    made.ImagePositionPatient, made.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
    made.SamplesPerPixel = 3 if colour else 1
    made.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        made.PlanarConfiguration = 0
    made.PixelRepresentation = int(signed)
    return made


def drawn_series() -> Iterator[Series]:
    """36 slices of each drawing, and bodies in each compression."""
    for kind in ("anatomy", "discs", "stripes", "checkers", "zone plate"):
        frames = {f"{n}.dcm": drawn(kind, n) for n in range(TILES)}
        objects = {
            name: encoded(header(n, signed=True, colour=False), samples)
            for n, (name, samples) in enumerate(frames.items())
        }
        yield Series(kind, objects, ("lung", "bone", "abdomen", "5000/1000"), 128)
    for name, syntax, colour, side in (
        ("HTJ2K", HTJ2KLossless, False, 512),
        ("JPEG", JPEGBaseline8Bit, False, 1024),
        ("JPEG, colour", JPEGBaseline8Bit, True, 1024),
        ("JPEG 2000, colour", JPEG2000Lossless, True, 512),
        ("JPEG 2000, 1024 x 1024", JPEG2000Lossless, False, 1024),
    ):
        objects = {}
        for n in range(TILES):
            samples: NDArray[Any] = drawn("anatomy", n, side)
            if colour or syntax == JPEGBaseline8Bit:
                samples = np.clip(samples / 8 + 128, 0, 255).astype(np.uint8)
            if colour:
                samples = np.stack([samples, np.roll(samples, 9, 0), 255 - samples], axis=-1)
            signed = samples.dtype.kind == "i"
            objects[f"{n}.dcm"] = encoded(header(n, signed=signed, colour=colour), samples, syntax)
        yield Series(name, objects, ("256/128" if syntax == JPEGBaseline8Bit else "lung",), 128)


def real_series(folder: Path) -> Iterator[Series]:
    """The grey slices of 16 bits of each series, in tiles a quarter as wide."""
    for path in sorted(folder.glob("series/*")):
        objects, contrasts, width = {}, {"embedded"}, 0
        for file in sorted(path.iterdir()):
            try:
                dataset = dcmread(file)
                samples = dataset.pixel_array
            except (InvalidDicomError, AttributeError, NotImplementedError, RuntimeError, ValueError):
                continue
            if samples.ndim != 2 or samples.dtype.itemsize != 2 or min(samples.shape) < 128:
                continue
            if dataset.Modality == "CT":
                contrasts |= {"lung", "bone", "abdomen", "brain"}
            # A file may have elements that no file may have.
            del dataset[0x0000_0000:0x0002_FFFF]
            objects[file.name] = encoded(dataset, samples)
            width = samples.shape[1] // 4
        if len(objects) >= 8:
            yield Series(path.name, objects, tuple(sorted(contrasts)), width)


def measure(series: Series, contrast: str) -> None:
    """Print one row."""
    storage = MemoryStorage({f"S/{name}": data for name, data in series.objects.items()})
    service = PreviewService(storage, IndexCache(MemoryStorage()), Limits())
    given = {"contrast": [contrast], "image_width": [str(series.width)]}
    plan = service.plan(MosaicRequest.from_strings("S", "a.jpg", {**given, "tile_width": ["6"]}))
    if plan.pooled:
        return  # whole frames are pooled
    spent, before = math.inf, math.inf
    for _ in range(REPEATS):
        start = time.process_time()
        painted = paint(storage, plan, TERMS)
        middle = time.process_time()
        whole = {}
        for item in plan.slices:
            whole.update(paint(storage, replace(plan, slices=[item]), TERMS))
        spent, before = min(spent, middle - start), min(before, time.process_time() - middle)
    errors, reduced = [], 0
    for row, one in painted.items():
        for cell, other in zip(one.cells, whole[row].cells, strict=True):
            reduced += cell.reduction > 1
            errors.append(np.sqrt(np.mean(np.subtract(cell.tile, other.tile, dtype=np.float64) ** 2)))
    count = len(errors)
    print(
        f"{series.name:28}{contrast:12}{count:6}{reduced:9}{np.mean(errors):8.2f}{max(errors):8.2f}"
        f"{before / count * 1000:8.1f}{spent / count * 1000:8.1f}{before / spent:8.2f}"
    )


if __name__ == "__main__":
    print(
        f"{'series':28}{'contrast':12}{'tiles':>6}{'reduced':>9}{'mean':>8}{'largest':>8}"
        f"{'whole':>8}{'mosaic':>8}{'ratio':>8}"
    )
    for one in chain(drawn_series(), real_series(Path(sys.argv[1])) if len(sys.argv) > 1 else ()):
        for name in one.contrasts:
            measure(one, name)
