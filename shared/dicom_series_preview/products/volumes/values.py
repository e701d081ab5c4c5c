"""The type of a volume's values, and each slice's values in it: exactly what the headers say, or nothing.

Modality values are those after the modality LUT or rescale (PS3.3 C.11.1). Whole numbers stay whole.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.base.image import Contrast
from dicom_series_preview.pixels.codecs.colour import is_colour, to_rgb
from dicom_series_preview.pixels.contrast.modality import look_up, modality_values, padding_mask
from dicom_series_preview.products.volumes.refusal import called

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicom_series_preview.archive.index.slices import Slice
    from dicom_series_preview.pixels.slices import DecodedSlice

# What whole modality values are tried as, one after the other.
_WHOLE = ("<i2", "<i4")


class DoesNotFitError(Exception):
    """A slice has values that the volume's type cannot hold; a wider one may.

    Attributes:
        name: The slice.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(name)


@dataclass(frozen=True, slots=True)
class ValueType:
    """How a volume's values are made of stored ones.

    Attributes:
        dtypes: The types to try, the first that holds all values is taken: little-endian NumPy types.
        is_colour: Values are 8-bit RGB.
        is_whole: Modality values are whole numbers.
        is_stored: Values are stored values; slope and intercept are told beside them.
        inverted: Every value is taken from this, the lowest and highest possible value together; or None.
        slope: Of `is_stored`: what a value is multiplied by.
        intercept: Of `is_stored`: what is then added.
    """

    dtypes: tuple[str, ...]
    is_colour: bool = False
    is_whole: bool = True
    is_stored: bool = False
    inverted: float | None = None
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def dtype(self) -> np.dtype[Any]:
        """The first type to try."""
        return np.dtype(self.dtypes[0])


@dataclass(frozen=True, slots=True)
class Measures:
    """What is known of one slice's values.

    Attributes:
        low: The lowest without padding, NaN and infinities; None where there is no other.
        high: The highest likewise.
        total: Their sum.
        count: How many they are.
        sha256: The digest of the slice's values in the volume's type, rows after each other, little endian.
    """

    low: float | None
    high: float | None
    total: float
    count: int
    sha256: str


def value_type_of(slices: Sequence[Slice], *, stored: bool = False, invert: bool = False) -> ValueType:
    """Decide the type of values from the headers of a volume's slices.

    Args:
        slices: The slices.
        stored: Keep stored values.
        invert: Turn MONOCHROME1 around.
    """
    if any(is_colour(item.pixels) for item in slices):
        return ValueType(("|u1",), is_colour=True)
    inverted = _inverted(slices) if invert else None
    is_float = any(item.pixels.pixel_keyword != "PixelData" for item in slices)
    rules = {_rule(item.contrast) for item in slices}
    if stored and not is_float:
        slope, intercept = next(iter(rules))
        kinds = _stored_types(slices)
        return ValueType(kinds, is_stored=True, inverted=inverted, slope=slope, intercept=intercept)
    has_table = any(item.contrast.modality_lut is not None for item in slices)
    is_whole = not is_float and all(float(number).is_integer() for rule in rules for number in rule)
    if not is_whole:
        return ValueType(("<f4",), is_whole=False, inverted=inverted)
    if rules == {(1.0, 0.0)} and not has_table:
        return ValueType(_stored_types(slices), inverted=inverted)
    return ValueType(_WHOLE, inverted=inverted)


def has_one_rule(slices: Sequence[Slice]) -> bool:
    """Return True where one slope and intercept, and no lookup table, hold for all slices."""
    has_table = any(item.contrast.modality_lut is not None for item in slices)
    return not has_table and len({_rule(item.contrast) for item in slices}) == 1


def put_values(found: DecodedSlice, kind: ValueType, out: NDArray[Any]) -> None:
    """Put the values of a slice into an array of the volume's type.

    Args:
        found: The slice.
        kind: How its values are made.
        out: (rows, columns), or (rows, columns, 3) uint8 of colour; contiguous.

    Raises:
        DoesNotFitError: The type cannot hold them.
        ObjectError: A lookup table is cut off.
    """
    item = found.slice
    if kind.is_colour:
        if not is_colour(item.pixels):
            # Grey among colour: the same level three times would be a guess at its window.
            raise DoesNotFitError(called(item))
        out[...] = to_rgb(found.decoded, item.pixels)
        return
    contrast = Contrast() if kind.is_stored else item.contrast
    samples = found.decoded.samples
    if out.dtype.kind == "f":
        values = modality_values(samples, contrast)
        values = values if kind.inverted is None else kind.inverted - values.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            out[...] = values
        lost = ~np.isfinite(out) if not np.isfinite(out).all() else np.zeros(0, np.bool_)
        if (lost.any() and np.isfinite(values[lost]).any()) or (values[out == 0] != 0).any():
            raise DoesNotFitError(called(item))
        return
    _put_whole_values(samples, contrast, kind, out, called(item))


def measured(values: NDArray[Any], mask: NDArray[np.bool_] | None) -> Measures:
    """Measure a slice's values.

    Args:
        values: The values, contiguous.
        mask: True where they are padding; or None.
    """
    digest = hashlib.sha256(values.data).hexdigest()
    known = values if mask is None else values[~mask]
    if known.dtype.kind == "f":
        known = known[np.isfinite(known)]
    if not known.size:
        return Measures(None, None, 0.0, 0, digest)
    total = known.sum(dtype=np.int64 if known.dtype.kind in "iu" else np.float64)
    return Measures(float(known.min()), float(known.max()), float(total), known.size, digest)


def padding_of(found: DecodedSlice) -> NDArray[np.bool_] | None:
    """Return (rows, columns) bool, True where a slice's values are padding; None without any."""
    if found.decoded.samples.ndim != 2:
        return None
    return padding_mask(found.decoded.samples, found.slice.contrast)


def padding_value(item: Slice, kind: ValueType) -> float | None:
    """Return PixelPaddingValue (0028,0120) as a value of the volume; None without one."""
    stored = item.contrast.pixel_padding_value
    if stored is None or kind.is_colour:
        return None
    contrast = Contrast() if kind.is_stored else item.contrast
    value = float(modality_values(np.array([stored], np.float64), contrast)[0])
    return value if kind.inverted is None else kind.inverted - value


def _put_whole_values(
    samples: NDArray[Any], contrast: Contrast, kind: ValueType, out: NDArray[Any], name: str
) -> None:
    """Put whole modality values into an array, computed in whole numbers."""
    slope, intercept = int(contrast.rescale_slope), int(contrast.rescale_intercept)
    if contrast.modality_lut is not None:
        samples, slope, intercept = look_up(samples, contrast.modality_lut), 1, 0
    if kind.inverted is not None:
        slope, intercept = -slope, int(kind.inverted) - intercept
    low, high = (int(end) * slope + intercept for end in (samples.min(), samples.max()))
    limits = np.iinfo(out.dtype)
    if min(low, high) < limits.min or max(low, high) > limits.max:
        raise DoesNotFitError(name)
    # Whole numbers wrap around, and back: what ends within the type's range is right.
    np.copyto(out, samples, casting="unsafe")
    if slope != 1:
        out *= _wrapped(slope, out.dtype)
    if intercept:
        out += _wrapped(intercept, out.dtype)


def _wrapped(number: int, dtype: np.dtype[Any]) -> Any:  # noqa: ANN401 - a scalar of the type
    return np.array([number % (1 << 8 * dtype.itemsize)], np.uint64).astype(dtype)[0]


def _rule(contrast: Contrast) -> tuple[float, float]:
    if contrast.modality_lut is not None:
        return 1.0, 0.0
    return contrast.rescale_slope, contrast.rescale_intercept


def _stored_types(slices: Sequence[Slice]) -> tuple[str, ...]:
    """Return the types to try for stored values: unsigned 16-bit stays unsigned."""
    signs = {item.pixels.pixel_representation for item in slices}
    bits = {item.pixels.bits_allocated for item in slices}
    if signs == {0} and bits <= {12, 16}:
        return ("<u2", "<i4")
    return _WHOLE


def _inverted(slices: Sequence[Slice]) -> float | None:
    """Return the lowest and highest possible modality value together, of MONOCHROME1; else None."""
    if any(item.pixels.photometric_interpretation != "MONOCHROME1" for item in slices):
        return None
    ends: list[float] = []
    for item in slices:
        stored = item.contrast.content.stored_range
        if stored is None:
            return None
        slope, intercept = _rule(item.contrast)
        ends += [stored[0] * slope + intercept, stored[1] * slope + intercept]
    return min(ends) + max(ends)


def described_without_labels(item: Slice) -> Slice:
    """Return a slice of labels as grey values: their colours are for pictures."""
    grey = replace(item.pixels, photometric_interpretation="MONOCHROME2", palette=None)
    return replace(item, pixels=grey, contrast=Contrast())
