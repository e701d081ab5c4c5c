"""Samples of a run: slices of some volumes beside their source, and the planes through each one's middle."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.base.errors import PreviewError
from dicom_series_preview.products.volumes.display import Shades
from dicom_series_preview.products.volumes.formats.base import UnreadableError, layout_of
from dicom_series_preview.products.volumes.planes import Middle
from dicom_series_preview.products.volumes.reporting.source import NoSourceError
from dicom_series_preview.products.volumes.verify import verified

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from dicom_series_preview.products.volumes.formats.base import Readback
    from dicom_series_preview.products.volumes.planes import Plane
    from dicom_series_preview.products.volumes.reporting.found import Found, Output
    from dicom_series_preview.products.volumes.reporting.source import Source

_NO_SOURCE = "no source was given: give `root`"
# So many slices of a source are held at once where all are compared.
_AT_ONCE = 16


@dataclass(frozen=True, slots=True, eq=False)
class SampledSlice:
    """A slice of a volume beside its source.

    Attributes:
        number: Its place in (t, z), row by row, from 0.
        name: Its SOPInstanceUID; empty without a source.
        found: The volume's values.
        source: The source's, decoded anew; None without a source.
        largest: The largest difference between them; None without a source. Infinite where a value is none.
    """

    number: int
    name: str
    found: NDArray[Any]
    source: NDArray[Any] | None = None
    largest: float | None = None

    @property
    def is_equal(self) -> bool:
        """The source was decoded anew, and every value is the same."""
        return self.largest == 0


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A volume that is shown.

    Attributes:
        output: The volume.
        problem: What is wrong with it, in one line; else empty.
        note: What is to be said of its source; else empty.
        planes: The planes through its middle; none where it cannot be read.
        slices: Some of its slices.
        shades: How its values become grey levels; None where it cannot be read.
        compared: How many of its slices were compared with the source decoded anew.
    """

    output: Output
    problem: str = ""
    note: str = ""
    planes: Sequence[Plane] = field(default=(), repr=False)
    slices: tuple[SampledSlice, ...] = field(default=(), repr=False)
    shades: Shades | None = field(default=None, repr=False)
    compared: int = 0


@dataclass(frozen=True, slots=True)
class Sampling:
    """How samples are taken.

    Attributes:
        volumes: How many volumes, failures included; there are more where more failed.
        slices: How many slices of each.
        source: Finds the source of a volume, or raises NoSourceError or PreviewError; None without a root.
    """

    volumes: int = 10
    slices: int = 3
    source: Callable[[Output], Source] | None = None


def verified_all(found: Found) -> Found:
    """Read every volume back, and tell of each that is not what its receipt says."""
    return replace(found, outputs=tuple(map(_verified, found.outputs)))


def _verified(one: Output) -> Output:
    if one.problem:
        return one
    try:
        problem = verified(one.format, one.path)
    except UnreadableError as error:
        problem = str(error)
    except OSError:
        problem = "it cannot be read"
    return replace(one, problem=problem)


def take_samples(found: Found, sampling: Sampling) -> Iterator[Sample]:
    """Yield samples by name: every failure, and others that the run's seed chooses."""
    failed = [one for one in found.outputs if one.problem]
    others = [one for one in found.outputs if not one.problem]
    many = min(max(sampling.volumes - len(failed), 0), len(others))
    chosen = random.Random(found.seed).sample(others, many)
    for one in sorted((*failed, *chosen), key=lambda one: one.name):
        yield _sample(one, sampling, f"{found.seed} {one.name}")


def _sample(output: Output, sampling: Sampling, seed: str) -> Sample:
    if not output.receipt:
        return Sample(output, output.problem)
    source, note = _source(output, sampling)
    shape, _ = layout_of(output.receipt)
    count = shape[0] * shape[1]
    numbers = sorted(random.Random(seed).sample(range(count), min(sampling.slices, count)))
    off: dict[int, float] = {}
    try:
        if output.problem and source is not None:
            # What is wrong with it shall be seen.
            off = _differences(output, source)
            worst = sorted((number for number in off if off[number]), key=lambda number: -off[number])
            numbers = sorted(list(dict.fromkeys((*worst, *numbers)))[: sampling.slices])
        middle, slices, problem = _read_back(output, numbers)
    except (UnreadableError, OSError) as error:
        told = str(error) if isinstance(error, UnreadableError) else "it cannot be read"
        return Sample(output, output.problem or told, note)
    except (NoSourceError, PreviewError) as error:
        return Sample(output, output.problem or _line(error), note)
    volume = output.receipt["volume"]
    affine = volume["native_affine_ras_mm"]
    planes = middle.planes(None if affine is None else np.array(affine, np.float64))
    shown = [*(plane.values for plane in planes), *slices.values()]
    shades = Shades.of(volume.get("display", {}), volume.get("padding_value"), shown)
    sampled, told = _beside(slices, source)
    told = _counted_differences(off) or told
    compared = len(off) or sum(one.source is not None for one in sampled)
    problems = dict.fromkeys(filter(None, (output.problem or problem, told)))
    return Sample(output, "; ".join(problems), note, planes, sampled, shades, compared)


def _counted_differences(off: Mapping[int, float]) -> str:
    differ = sum(bool(one) for one in off.values())
    return f"{differ} of {len(off)} slices differ from the source" if differ else ""


def _source(output: Output, sampling: Sampling) -> tuple[Source | None, str]:
    if sampling.source is None:
        return None, _NO_SOURCE
    try:
        source = sampling.source(output)
    except (NoSourceError, PreviewError) as error:
        return None, _line(error)
    return source, "" if source.is_same else "its source's objects have other versions than when it was made"


def _line(error: Exception) -> str:
    return str(error)


def _opened(output: Output) -> tuple[Readback, tuple[int, ...], np.dtype[Any]]:
    found = output.format.read(output.path)
    shape, _ = layout_of(found.receipt)
    return found, shape, np.dtype(str(found.receipt["volume"]["dtype"]))


def _read_back(output: Output, numbers: Collection[int]) -> tuple[Middle, dict[int, NDArray[Any]], str]:
    """Read a volume once: its planes, some of its slices, and what its receipt's digest says of it."""
    found, shape, dtype = _opened(output)
    middle, slices, digest = Middle(shape, dtype), dict[int, Any](), hashlib.sha256()
    for slab in found.slabs:
        data = slab.data.astype(dtype)
        middle.add(replace(slab, data=data))
        for t in range(*slab.extent.t):
            for z in range(*slab.extent.z):
                one = np.ascontiguousarray(data[t - slab.extent.t[0], z - slab.extent.z[0]])
                digest.update(hashlib.sha256(one.data).hexdigest().encode())
                if t * shape[1] + z in numbers:
                    slices[t * shape[1] + z] = one.copy()
    is_same = digest.hexdigest() == output.receipt["volume"]["slices_sha256"]
    return middle, slices, "" if is_same else "its values are not the receipt's"


def _differences(output: Output, source: Source) -> dict[int, float]:
    """Compare every slice of a volume with its source; return the largest difference of each."""
    found, shape, dtype = _opened(output)
    off: dict[int, float] = {}
    for slab in found.slabs:
        places = {
            t * shape[1] + z: slab.data[t - slab.extent.t[0], z - slab.extent.z[0]]
            for t in range(*slab.extent.t)
            for z in range(*slab.extent.z)
        }
        numbers = list(places)
        for start in range(0, len(numbers), _AT_ONCE):
            for number, values in source.decoded(numbers[start : start + _AT_ONCE], dtype):
                off[number] = largest_difference(places[number], values)
    return off


def _beside(
    slices: Mapping[int, NDArray[Any]], source: Source | None
) -> tuple[tuple[SampledSlice, ...], str]:
    """Put slices beside their source; return what is wrong, too."""
    alone = tuple(SampledSlice(number, "", slices[number]) for number in sorted(slices))
    if source is None or not slices:
        return alone, ""
    dtype = next(iter(slices.values())).dtype
    try:
        decoded = dict(source.decoded(sorted(slices), dtype))
    except (NoSourceError, PreviewError) as error:
        return alone, _line(error)
    found = tuple(
        SampledSlice(
            one.number,
            source.name(one.number),
            one.found,
            decoded[one.number],
            largest_difference(one.found, decoded[one.number]),
        )
        for one in alone
    )
    return found, _counted_differences({one.number: one.largest or 0.0 for one in found})


def largest_difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the largest difference of two arrays of one shape; infinite where only one has a number."""
    if one.shape != other.shape:
        return float("inf")
    if np.array_equal(one, other, equal_nan=one.dtype.kind == "f"):
        return 0.0
    off = np.abs(one.astype(np.float64) - other.astype(np.float64))
    off[np.isnan(one.astype(np.float64)) & np.isnan(other.astype(np.float64))] = 0
    return float(np.nan_to_num(off, nan=np.inf).max())
