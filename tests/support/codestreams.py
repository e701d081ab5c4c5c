"""Frames as codecs write them, and the description of their pixels."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import openjpeg.utils
import rle.utils
from PIL import Image

from dicom_series_preview.base.image import PixelDescription


def described(samples: np.ndarray, uid: str, stored: int, **changes: Any) -> PixelDescription:
    """What a header says of some samples in a transfer syntax, of which so many bits are stored."""
    colour = samples.ndim == 3
    pixels = PixelDescription(
        uid,
        *samples.shape[:2],
        samples_per_pixel=3 if colour else 1,
        photometric_interpretation="RGB" if colour else "MONOCHROME2",
        bits_allocated=samples.dtype.itemsize * 8,
        bits_stored=stored,
        high_bit=stored - 1,
        pixel_representation=int(samples.dtype.kind == "i"),
    )
    return replace(pixels, **changes)


def j2k(samples: np.ndarray, bits: int, photometric: int = 2, **options: Any) -> bytes:
    """JPEG 2000; a photometric interpretation of 1 is RGB, 2 is grey."""
    return bytes(
        openjpeg.utils.encode_array(
            samples, bits_stored=bits, photometric_interpretation=photometric, **options
        )
    )


def jpeg(samples: np.ndarray, quality: int = 95, **options: Any) -> bytes:
    """Baseline JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, "JPEG", quality=quality, **options)
    return buffer.getvalue()


def run_lengths(samples: np.ndarray) -> bytes:
    """RLE Lossless."""
    return bytes(
        rle.utils.encode_pixel_data(
            samples.tobytes(),
            rows=samples.shape[0],
            columns=samples.shape[1],
            samples_per_pixel=3 if samples.ndim == 3 else 1,
            bits_allocated=samples.dtype.itemsize * 8,
            byteorder="<",
        )
    )
