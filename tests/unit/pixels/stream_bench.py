"""Series of slices in memory, and readers of them."""

import zlib
from typing import Any

import numpy as np

import make_dicom
from dicom_series_preview.archive.index.slices import Slice
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.pixels.frames import FetchOptions
from dicom_series_preview.pixels.stream import SliceReader

DEFLATED_FRAMES = b"1.2.840.10008.1.2.8.1\0"


def series(
    frames: list[np.ndarray | bytes], rows: int, columns: int, *, native: bool = False, **elements: Any
) -> dict[str, bytes]:
    """Slices of 16 bits; a frame of bytes is written as it is."""
    objects = {}
    for number, samples in enumerate(frames, start=1):
        data = samples if isinstance(samples, bytes) else samples.astype("<u2").tobytes()
        if not native and not isinstance(samples, bytes):
            deflater = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
            data = deflater.compress(data) + deflater.flush()
        made = make_dicom.image(
            number,
            Rows=rows,
            Columns=columns,
            BitsStored=16,
            HighBit=15,
            PixelData=data if native else make_dicom.encapsulate([[data]]),
            **elements,
        )
        encoded = make_dicom.encode(made, make_dicom.EXPLICIT if native else make_dicom.JPEG)
        # pydicom does not know the transfer syntax yet, and writes another of as many bytes.
        objects[f"S/{number:03}.dcm"] = encoded.replace(make_dicom.JPEG.encode(), DEFLATED_FRAMES)
    return objects


def reader_of(storage: Any, inner: Any = None, **changes: Any) -> tuple[SliceReader, list[Slice]]:
    """A reader of a series, and its slices in order; nothing has come with the headers."""
    index = SeriesIndexer(inner or storage, None, Limits()).open(SeriesName("S")).index
    reader = SliceReader(storage, "S", index, FetchOptions(), **changes)
    return reader, index.slices(range(index.table.num_rows))
