"""The axes that a stack can have beside its locations, and the elements that tell the place on each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dicom_series_preview.sources.headers.clock import SECONDS_A_DAY, day_of, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable

# GE adds multiples of it to b-values; no scanner reaches the bound.
_GE_FLAG = 1_000_000_000
_LARGEST_B_VALUE = 100_000
# Directions and numbers are equal in so many digits: files write the same value with more or fewer of them.
_DIGITS, _DIRECTION_DIGITS = 6, 4
_GE_COMPONENTS = {0: "MAGNITUDE", 1: "PHASE", 2: "REAL", 3: "IMAGINARY"}
_LONGEST_CODE = 16

# Numbers that a protocol gives on purpose: slices that differ in them belong to different volumes.
_MEANT = frozenset(
    (
        *("NominalCardiacTriggerDelayTime", "TriggerTime"),
        *("TemporalPositionIndex", "TemporalPositionIdentifier"),
    )
)

Kind = Literal["value", "number", "rank"]


@dataclass(frozen=True, slots=True)
class Element:
    """An element, or the elements of a vector's components, that tell a slice's place on an axis.

    Attributes:
        name: Its keyword, or `gggg,ee:CREATOR` of a private element, by which people know it.
        columns: The columns of the index with its values, one for each component.
        group: Its tag, as in DICOM JSON, in a frame's functional groups; empty if it is in none.
        read: Converts a cell to a value that can be compared; None for no value, or an absurd one.
    """

    name: str
    columns: tuple[str, ...]
    group: str
    read: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis that slices of one location may spread over.

    Attributes:
        name: Its name, in the singular.
        element: The element that tells the place on it.
        unit: The unit of its values, or empty.
        kind: `value`: an element with a meaning of its own. `number`: one that numbers slices, whose numbers
            count where they are alike at all locations. `rank`: one that only says which slice came first.
    """

    name: str
    element: Element
    unit: str = ""
    kind: Kind = "value"

    @property
    def keyword(self) -> str:
        """The name of its element."""
        return self.element.name

    @property
    def has_meaning(self) -> bool:
        """Its element says what an image is, and not only when, or as which, it was acquired or stored."""
        return self.kind == "value" or self.keyword in _MEANT


def _number(cell: Any) -> float | None:  # noqa: ANN401 - a cell
    """Return a cell's first number, without the digits in which equal values differ."""
    first = cell[0] if isinstance(cell, (list, tuple)) and cell else cell
    try:
        number = float(first)
    except (TypeError, ValueError, OverflowError):
        return None
    return float(f"{number:.{_DIGITS}g}") + 0.0 if math.isfinite(number) else None


def _b_value(cell: Any) -> float | None:  # noqa: ANN401 - a cell
    """Return a b-value in s/mm2; None for one that no scanner reaches."""
    number = _number(cell)
    return number if number is not None and 0 <= number <= _LARGEST_B_VALUE else None


def _ge_b_value(cell: Any) -> float | None:  # noqa: ANN401 - a cell
    number = cell[0] if isinstance(cell, (list, tuple)) and cell else cell
    return _b_value(number % _GE_FLAG) if isinstance(number, int) else None


def _direction(cell: Any) -> tuple[float, ...] | None:  # noqa: ANN401 - a cell
    """Return a unit vector; None for the zero vector of an image that is not diffusion weighted."""
    try:
        vector = tuple(round(float(one), _DIRECTION_DIGITS) + 0.0 for one in cell)
    except (TypeError, ValueError, OverflowError):
        return None
    return vector if len(vector) == 3 and any(vector) and all(map(math.isfinite, vector)) else None


def _words(cell: Any) -> tuple[str, ...] | None:  # noqa: ANN401 - a cell
    """Return the words of a code string such as ImageType; None where it holds anything else."""
    words = tuple(str(word or "") for word in (cell if isinstance(cell, (list, tuple)) else [cell]))
    return words if any(words) and all(map(_is_code, words)) else None


def _is_code(word: str) -> bool:
    """Return True for a word that a CS can hold, and no name or other free text (PS3.5 6.2)."""
    is_short = len(word) <= _LONGEST_CODE and word.isascii() and word.isprintable()
    return is_short and word.upper() == word and "^" not in word


def _word(cell: Any) -> tuple[str, ...] | None:  # noqa: ANN401 - a cell
    return _words([cell]) if isinstance(cell, str) else _words(cell)


def _ge_component(cell: Any) -> tuple[str, ...] | None:  # noqa: ANN401 - a cell
    name = _GE_COMPONENTS.get(cell) if isinstance(cell, int) else None
    return (name,) if name else None


def _time_of_day(cell: Any) -> float | None:  # noqa: ANN401 - a cell
    seconds = seconds_of(cell, "TM") if isinstance(cell, str) else math.nan
    return None if math.isnan(seconds) else seconds


def _moment(cell: Any) -> float | None:  # noqa: ANN401 - a cell
    return _joined(cell, cell, "DT")


def _day_and_time(cells: Any) -> float | None:  # noqa: ANN401 - a cell of each
    """Return the moment of a date and a time of day; None unless both are there."""
    day, time = cells
    return _joined(day, time, "TM")


def _joined(day: Any, time: Any, vr: str) -> float | None:  # noqa: ANN401 - cells
    if not isinstance(day, str) or not isinstance(time, str):
        return None
    moment = day_of(day) * SECONDS_A_DAY + seconds_of(time, vr)
    return None if math.isnan(moment) else moment


def _public(keyword: str, read: Callable[[Any], Any], group: str = "") -> Element:
    return Element(keyword, (keyword,), group, read)


def _clock(day: str, time: str) -> tuple[Element, Element]:
    """Return a clock with its date, and the time of day alone for slices of which one has no date."""
    return Element(time, (day, time), "", _day_and_time), _public(time, _time_of_day)


def _private(column: str, read: Callable[[Any], Any], *others: str) -> Element:
    return Element(column, (column, *others), "", read)


def _alike(name: str, unit: str, *elements: Element, kind: Kind = "value") -> tuple[Axis, ...]:
    """Return one axis that several elements can tell, the best first."""
    return tuple(Axis(name, element, unit, kind) for element in elements)


AXES = (
    *_alike(
        "echo time",
        "ms",
        _public("EffectiveEchoTime", _number, "00189082"),
        _public("EchoTime", _number),
    ),
    *_alike(
        "b-value",
        "s/mm2",
        _public("DiffusionBValue", _b_value, "00189087"),
        _private("0019,0c:SIEMENS MR HEADER", _b_value),
        _private("0043,39:GEMS_PARM_01", _ge_b_value),
        _private("2001,03:Philips Imaging DD 001", _b_value),
        _private("2001,03:PHILIPS IMAGING DD 001", _b_value),
        _private("0065,09:Image Private Header", _b_value),
    ),
    *_alike(
        "direction",
        "",
        _public("DiffusionGradientOrientation", _direction, "00189089"),
        _private("0019,0e:SIEMENS MR HEADER", _direction),
        _private("0019,bb:GEMS_ACQU_01", _direction, "0019,bc:GEMS_ACQU_01", "0019,bd:GEMS_ACQU_01"),
        _private(
            "2005,b0:Philips MR Imaging DD 001",
            _direction,
            "2005,b1:Philips MR Imaging DD 001",
            "2005,b2:Philips MR Imaging DD 001",
        ),
        _private("0065,37:Image Private Header", _direction),
    ),
    *_alike(
        "inversion time",
        "ms",
        _public("InversionTimes", _number, "00189079"),
        _public("InversionTime", _number),
    ),
    Axis("flip angle", _public("FlipAngle", _number, "00181314"), "degrees"),
    *_alike(
        "image type",
        "",
        _public("ComplexImageComponent", _word, "00089208"),
        _private("0043,2f:GEMS_PARM_01", _ge_component),
        _public("FrameType", _words),
        _public("ImageType", _words),
        _private("0043,30:GEMS_PARM_01", _number),
    ),
    Axis("cardiac phase", _public("NominalPercentageOfCardiacPhase", _number, "00209241"), "%"),
    Axis("segment", _public("ReferencedSegmentNumber", _number, "0062000B")),
    Axis("stack id", _public("StackID", _number, "00209056")),
    Axis("trigger time", _public("NominalCardiacTriggerDelayTime", _number, "00209153"), "ms", kind="number"),
    Axis("trigger time", _public("TriggerTime", _number), "ms", kind="number"),
    Axis("time", _public("TemporalPositionIndex", _number, "00209128"), kind="number"),
    Axis("time", _public("TemporalPositionIdentifier", _number), kind="number"),
    Axis("time", _public("FrameAcquisitionDateTime", _moment, "00189074"), kind="rank"),
    Axis("time", _public("AcquisitionDateTime", _moment), kind="rank"),
    *_alike("time", "", *_clock("AcquisitionDate", "AcquisitionTime"), kind="rank"),
    Axis("time", _public("FrameReferenceTime", _number), kind="rank"),
    Axis("acquisition", _public("FrameAcquisitionNumber", _number, "00209156"), kind="number"),
    Axis("acquisition", _public("AcquisitionNumber", _number), kind="number"),
    *_alike("time", "", *_clock("ContentDate", "ContentTime"), kind="rank"),
    Axis("repetition", _public("InstanceNumber", _number), kind="rank"),
    Axis("frame", _public("FrameNumber", _number), kind="rank"),
)
"""All axes; those with a meaning first, then those with an order, the clearest first.

See PS3.3 C.7.6.16.2, C.8.3 and C.8.13; the private elements are those of Siemens, GE, Philips and United
Imaging.
"""
MACROS = (
    "00209111",  # FrameContentSequence
    "00189112",  # MRTimingAndRelatedParametersSequence
    "00189114",  # MREchoSequence
    "00189115",  # MRModifierSequence
    "00189117",  # MRDiffusionSequence
    "00189118",  # CardiacSynchronizationSequence
    "00189226",  # MRImageFrameTypeSequence
    "0062000A",  # SegmentIdentificationSequence
)
"""The functional groups that hold their elements."""
