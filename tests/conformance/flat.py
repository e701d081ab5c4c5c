"""Exact display values out of the whole product: objects in memory, listing, index, service, JPEG.

Each stored value fills a block of 8 x 8 pixels. JPEG at quality 100 divides by 1, and a flat block is nothing
but its mean: what comes out is exactly what went in.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from pydicom import Dataset

import make_dicom
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.products.pictures.report import Report
from dicom_series_preview.products.pictures.requests import ImageRequest, MosaicRequest
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.sources.storage.memory import MemoryStorage

BLOCK = 8
SIGNED = {"PixelRepresentation": 1}


def pixels(values: Sequence[Sequence[int]], dtype: str = "<u2") -> bytes:
    """Rows of values as pixel data, a block each."""
    return np.kron(np.array(values, dtype), np.ones((BLOCK, BLOCK), dtype)).astype(dtype).tobytes()


def flat(values: Sequence[int], dtype: str = "<u2", number: int = 1, **elements: Any) -> Dataset:
    """An image of one row of blocks; no rescale, unless one is given."""
    bits = np.dtype(dtype).itemsize * 8
    given = {
        "Rows": BLOCK,
        "Columns": BLOCK * len(values),
        "PixelSpacing": [1.0, 1.0],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(np.dtype(dtype).kind == "i"),
        "RescaleSlope": None,
        "RescaleIntercept": None,
        "PixelData": pixels([values], dtype),
    }
    return make_dicom.image(number, **{**given, **elements})


def objects(*datasets: Dataset, transfer_syntax: str = make_dicom.EXPLICIT) -> dict[str, bytes]:
    """Objects of the series `S`."""
    return {f"S/{i}": make_dicom.encode(data, transfer_syntax) for i, data in enumerate(datasets)}


def image(series: Mapping[str, bytes], position: float = 0.0, **options: object) -> tuple[np.ndarray, Report]:
    """One image as levels, pixel by pixel, and the report."""
    return _rendered(ImageRequest, series, {"position": position, **options})


def mosaic(series: Mapping[str, bytes], **options: object) -> tuple[np.ndarray, Report]:
    """A mosaic as levels, pixel by pixel, and the report."""
    return _rendered(MosaicRequest, series, options)


def _rendered(
    kind: type[ImageRequest | MosaicRequest], series: Mapping[str, bytes], options: Mapping[str, object]
) -> tuple[np.ndarray, Report]:
    given = {"quality": ["100"]} | {name: [str(value)] for name, value in options.items()}
    service = PreviewService(MemoryStorage(series), None, Limits())
    rendered = service.render(kind.from_strings("S", "a.jpg", given))
    return _levels(rendered.data), rendered.report


def shown(data: Dataset, **options: object) -> list[int]:
    """The display value of each block of an image of one row of blocks."""
    levels, _ = image(objects(data), image_width=data.Columns, **options)
    return blocks(levels)[0]


def blocks(levels: np.ndarray) -> list[list[int]]:
    """The value of each block; every one is flat."""
    rows, columns = levels.shape[0] // BLOCK, levels.shape[1] // BLOCK
    split = levels.reshape(rows, BLOCK, columns, BLOCK)
    assert (split == split[:, :1, :, :1]).all()
    return split[:, 0, :, 0].tolist()


def _levels(data: bytes) -> np.ndarray:
    with Image.open(BytesIO(data)) as picture:
        assert picture.mode == "L"
        return np.asarray(picture)
