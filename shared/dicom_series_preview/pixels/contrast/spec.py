"""Parse the text of a requested contrast."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.pixels.contrast.presets import PRESETS

Kind = Literal["preset", "custom", "auto", "embedded", "default"]

_ALIASES = {"soft": "ct-soft-tissue", "ct-soft": "ct-soft-tissue"}
_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?"
_WIDTH_CENTER = re.compile(rf"({_NUMBER})\s*[/,]\s*({_NUMBER})")
_VALID = (
    f"use {', '.join(PRESETS)} (also without ct-), a width and center such as 1500/-500 or 1500,-500, "
    "auto, embedded, embedded:2 or embedded:NAME"
)


@dataclass(frozen=True, slots=True)
class ContrastSpec:
    """A requested contrast; its text is its canonical label.

    Attributes:
        kind: `preset`, `custom`, `auto`, `embedded`, or `default`: embedded if there is one, else by what the
            image shows, else auto.
        name: The preset's name, or the embedded view's explanation.
        center: Center of a preset or custom window, in modality units.
        width: Width of a preset or custom window, in modality units, > 0.
        number: The embedded view's number, from 1; 0 without one.
    """

    kind: Kind
    name: str = ""
    center: float = 0.0
    width: float = 0.0
    number: int = 0

    def __str__(self) -> str:
        if self.kind == "preset":
            return self.name
        if self.kind == "custom":
            return f"{_plain(self.width)}/{_plain(self.center)}"
        if self.kind == "embedded" and (self.name or self.number):
            return f"embedded:{self.name or self.number}"
        return self.kind


DEFAULT = ContrastSpec("default")


def parse_contrast(text: str) -> ContrastSpec:
    """Parse a preset, `W/C`, `W,C`, `auto`, `embedded`, `embedded:NUMBER` or `embedded:NAME`.

    Raises:
        RequestError: The text has another form, or the width is not positive.
    """
    wanted = text.strip()
    lowered = wanted.lower()
    if lowered == "auto":
        return ContrastSpec("auto")
    if lowered == "embedded":
        return ContrastSpec("embedded")
    if lowered.startswith("embedded:"):
        return _embedded(wanted.partition(":")[2].strip())
    preset = _preset(lowered)
    if preset:
        width, center = PRESETS[preset]
        return ContrastSpec("preset", name=preset, center=center, width=width)
    match = _WIDTH_CENTER.fullmatch(lowered)
    if match is None:
        raise RequestError("contrast", f"{_quote(text)} is not a contrast; {_VALID}")
    width, center = float(match[1]), float(match[2])
    if not (width > 0 and math.isfinite(width) and math.isfinite(center)):
        raise RequestError("contrast", f"{_quote(text)} needs a finite width above 0, such as 1500/-500")
    return ContrastSpec("custom", center=center, width=width)


def _preset(lowered: str) -> str:
    """Return the preset that a name means, or an empty text."""
    name = lowered.replace("_", "-")
    name = _ALIASES.get(name, name)
    return next((known for known in (name, f"ct-{name}") if known in PRESETS), "")


def _embedded(view: str) -> ContrastSpec:
    """Parse a view, by number or by its explanation, an LO of up to 64 characters."""
    if not 1 <= len(view) <= 64 or not view.isprintable() or view.strip("0") == "":
        raise RequestError("contrast", "an embedded view is a number from 1 or a name, such as embedded:2")
    if view.isascii() and view.isdecimal():
        return ContrastSpec("embedded", number=int(view))
    return ContrastSpec("embedded", name=view)


def _quote(text: str) -> str:
    """Return the text in a form for one line of a message."""
    shown = text if len(text) <= 40 else f"{text[:40]}..."
    return ascii(shown)


def _plain(number: float) -> str:
    """Format a number without an empty fraction."""
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
