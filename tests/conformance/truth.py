"""The product's stored values against those of independent decoders, for a collection of test data.

`truth.csv` in the collection holds frame 0 of every file. Here the product reads each folder as it would read
a series: listing, headers, index, byte ranges, codec.
"""

import csv
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import pixel_array

from dicom_series_preview.archive.index.slices import Slice
from dicom_series_preview.base.errors import ObjectError, StorageError
from dicom_series_preview.base.settings import Limits, Settings
from dicom_series_preview.pixels.codecs.frame import decode_frame
from dicom_series_preview.pixels.frames import fetch_frames
from dicom_series_preview.products.pictures.requests import IndexRequest
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.sources.storage.open import open_storage


@dataclass(frozen=True, slots=True)
class Frame:
    """Frame 0 of one file, as the product reads it.

    Attributes:
        file: The file's path below the collection.
        slice: What the index says of it.
        samples: Stored values, or None where they cannot be had.
        photometric_interpretation: What the samples are.
        reason: Why there are none, or empty.
    """

    file: str
    slice: Slice
    samples: NDArray[np.generic] | None
    photometric_interpretation: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One file beside its truth.

    Attributes:
        file: The file's path below the collection.
        transfer_syntax_uid: Its transfer syntax, as the product takes it.
        lossy: Its codec loses.
        exact: Shape, type and every bit are the truth's.
        bounds: The largest difference of minimum and maximum; 0 where exact.
        difference: The largest difference of a sample from pydicom's decoders; None where it is exact, or
            where they cannot read it.
        reason: Why the product shows nothing, or empty.
    """

    file: str
    transfer_syntax_uid: str
    lossy: bool
    exact: bool
    bounds: float = 0.0
    difference: float | None = None
    reason: str = ""


def rows(folder: Path) -> list[dict[str, str]]:
    """The rows of a collection's `truth.csv`."""
    with (folder / "truth.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def frames(folder: Path, series: str) -> Iterator[Frame]:
    """Frame 0 of every file of one folder of the collection that the index holds as an image."""
    storage = open_storage(str(folder), Settings(folder), {})
    index = PreviewService(storage, None, Limits()).index(IndexRequest.from_strings(series, {})).index
    firsts = [row for members in index.stacks.values() for row in members.tolist()]
    slices = [item for item in index.frames(firsts) if item.frame_number == 1]
    for fetched in fetch_frames(storage, series, slices):
        name = f"{series}/{fetched.slice.file_name}"
        if fetched.error is not None:
            yield Frame(name, fetched.slice, None, reason=_reason(fetched.error))
            continue
        try:
            decoded = decode_frame(fetched.data, fetched.slice.pixels, bit_offset=fetched.bit_offset)
        except ObjectError as error:
            yield Frame(name, fetched.slice, None, reason=error.reason)
            continue
        yield Frame(name, fetched.slice, decoded.samples, decoded.photometric_interpretation)


def compare(folder: Path) -> list[Comparison]:
    """Every file whose truth is known, in the order of the table."""
    known = [row for row in rows(folder) if row["status"].startswith("ok")]
    series = sorted({row["file"].rpartition("/")[0] for row in known})
    read = {frame.file: frame for name in series for frame in frames(folder, name)}
    return [_compare(folder, row, read.get(row["file"])) for row in known]


def _compare(folder: Path, row: Mapping[str, str], frame: Frame | None) -> Comparison:
    name, lossy = row["file"], row["lossy_codec"] == "yes"
    uid = frame.slice.pixels.transfer_syntax_uid if frame is not None else row["transfer_syntax_uid"]
    if frame is None or frame.samples is None:
        reason = frame.reason if frame is not None else "the index holds no image of it"
        return Comparison(name, uid, lossy, exact=False, reason=reason)
    samples = frame.samples
    shape = "x".join(map(str, samples.shape))
    same_kind = (shape, samples.dtype.name) == (row["shape"], row["dtype"])
    digest = hashlib.sha256(np.ascontiguousarray(samples).tobytes()).hexdigest()
    if same_kind and digest == row["expected_sha256"]:
        return Comparison(name, uid, lossy, exact=True)
    if not same_kind:
        return Comparison(name, uid, lossy, exact=False, reason=f"{shape} {samples.dtype}")
    bounds = max(
        abs(float(samples.min()) - float(row["min"])),
        abs(float(samples.max()) - float(row["max"])),
    )
    return Comparison(
        name, uid, lossy, exact=False, bounds=bounds, difference=_difference(folder / name, samples)
    )


def _difference(path: Path, samples: NDArray[np.generic]) -> float | None:
    try:
        reference = pixel_array(path, index=0, raw=True)
    except (RuntimeError, ValueError, AttributeError):
        return None
    return float(np.abs(reference.astype(np.float64) - samples.astype(np.float64)).max())


def _reason(error: ObjectError | StorageError) -> str:
    return error.reason if isinstance(error, ObjectError) else error.problem
