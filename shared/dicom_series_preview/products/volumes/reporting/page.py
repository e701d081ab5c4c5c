"""Write a report: one page that needs neither network nor script, its facts as JSON, its rows as CSV."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import math
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from dicom_series_preview._version import __version__
from dicom_series_preview.products.volumes.planes import (
    direction_letters,
    opposite_letters,
    picture_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dicom_series_preview.products.volumes.display import Shades
    from dicom_series_preview.products.volumes.reporting.found import Found, NoVolume, Output
    from dicom_series_preview.products.volumes.reporting.samples import Sample, SampledSlice

_COLUMNS = (
    *("output", "status", "problem", "series", "series_instance_uid", "part", "format", "dims_xyzt"),
    *("spacing_mm", "orientation", "dtype", "units", "min", "max", "largest_deviation_mm", "tilt_deg"),
    *("slices", "slices_proved", "low_quality", "warnings", "sha256"),
)
# Pixels of the longest side of a slice.
_SIDE = 288
_WEBP = {"quality": 85, "method": 4}


@dataclass(frozen=True, slots=True)
class Told:
    """A sample as a report tells it, without its arrays.

    Attributes:
        facts: As JSON values.
        shown: What the page says and shows.
    """

    facts: dict[str, Any]
    shown: dict[str, Any] = field(repr=False)


def told_of(sample: Sample) -> Told:
    """Draw a sample."""
    return Told(_sampled(sample), _shown(sample))


def facts_of(found: Found, samples: Sequence[Told]) -> dict[str, Any]:
    """Return a report as JSON values: totals, rows, all receipts, and what samples showed."""
    # What a sample has shown is wrong with the volume.
    problems = {one.facts["output"]: one.facts["problem"] for one in samples if one.facts["problem"]}
    rows = [_row(one, problems.get(one.name, one.problem)) for one in found.outputs]
    return {
        "product": "dicom-series-preview",
        "version": __version__,
        "totals": _totals(found, rows),
        "refusals": [{"code": code, "count": count} for code, count in found.refusals],
        "volumes": [
            {**row, "seconds": dict(one.seconds), "receipt": dict(one.receipt)}
            for row, one in zip(rows, found.outputs, strict=True)
        ],
        "no_volumes": [_no_volume(one) for one in found.others],
        "samples": [one.facts for one in samples],
    }


def _row(one: Output, problem: str) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(_COLUMNS)
    row |= {"output": one.name, "status": "failed" if problem else "ok", "problem": problem}
    receipt = one.receipt
    row["format"] = one.format.name
    if not receipt:
        return row
    volume = receipt["volume"]
    row["series"] = one.series or None
    row["series_instance_uid"] = receipt.get("series_instance_uid")
    for key in (
        *("part", "dims_xyzt", "spacing_mm", "orientation", "dtype", "units", "min", "max"),
        *("largest_deviation_mm", "tilt_deg", "slices_proved", "sha256"),
    ):
        row[key] = volume.get(key)
    shape = volume["native_shape_tzyx"]
    row["slices"] = shape[0] * shape[1]
    quality = receipt.get("quality")
    row["low_quality"] = quality.get("low_quality") if isinstance(quality, dict) else None
    warnings = receipt.get("warnings")
    codes = (
        [one.get("code") for one in warnings if isinstance(one, dict)] if isinstance(warnings, list) else []
    )
    row["warnings"] = list(dict.fromkeys(str(code) for code in codes))
    return row


def _no_volume(one: NoVolume) -> dict[str, Any]:
    return {
        "status": one.status,
        "series": one.series,
        "part": one.part,
        "code": one.code,
        "problem": one.problem,
    }


def _totals(found: Found, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    known = [one for one in found.outputs if one.receipt]
    sources = {
        (row["series_instance_uid"], one.receipt["source"]["digest"]): one.receipt["source"]
        for one, row in zip(found.outputs, rows, strict=True)
        if one.receipt
    }
    return {
        "volumes": sum(row["status"] == "ok" for row in rows),
        "failed": sum(row["status"] != "ok" for row in rows)
        + sum(one.status == "failed" for one in found.others),
        "refused": sum(one.status == "refused" for one in found.others),
        "slices": sum(row["slices"] or 0 for row in rows),
        "slices_proved": sum(row["slices_proved"] or 0 for row in rows),
        "source_objects": sum(int(one["objects"]) for one in sources.values()),
        "source_bytes": sum(int(one["bytes"]) for one in sources.values()),
        "voxel_bytes": sum(
            math.prod(one.receipt["volume"]["native_shape_tzyx"])
            * np.dtype(str(one.receipt["volume"]["dtype"])).itemsize
            for one in known
        ),
        "seconds": round(sum(sum(one.seconds.values()) for one in found.outputs), 3),
        "localizer_slices_skipped": found.localizers,
        "derived_slices_skipped": found.derived,
        "low_quality": sum(row["low_quality"] is True for row in rows),
        "with_warnings": sum(bool(row["warnings"]) for row in rows),
    }


def _sampled(one: Sample) -> dict[str, Any]:
    return {
        "output": one.output.name,
        "problem": one.problem,
        "note": one.note,
        "slices_compared": one.compared,
        "slices": [
            {
                "number": item.number,
                "source": item.name or None,
                "equal": item.is_equal if item.source is not None else None,
                "largest_difference": item.largest
                if item.largest is not None and math.isfinite(item.largest)
                else None,
            }
            for item in one.slices
        ],
    }


def as_json(facts: Mapping[str, Any]) -> bytes:
    """Return a report as JSON."""
    return (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode()


def as_csv(facts: Mapping[str, Any]) -> bytes:
    """Return the rows of a report as CSV, what is no volume last; lists are joined by spaces."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for row in facts["volumes"]:
        writer.writerow({name: _cell(row[name]) for name in _COLUMNS})
    for row in facts["no_volumes"]:
        problem = f"{row['problem']} ({row['code']})"
        cells = {"status": row["status"], "problem": problem, "series": row["series"], "part": row["part"]}
        writer.writerow({name: _cell(cells.get(name)) for name in _COLUMNS})
    return text.getvalue().encode()


def _cell(value: Any) -> Any:  # noqa: ANN401 - a cell
    return " ".join(map(str, value)) if isinstance(value, list) else value


def as_html(title: str, facts: Mapping[str, Any], samples: Sequence[Told]) -> bytes:
    """Return a report as a page.

    Args:
        title: What the run is called.
        facts: See `facts_of`.
        samples: Its samples.
    """
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - only a report needs it

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = _number
    environment.filters["times"] = lambda values: " x ".join(_number(one) for one in values)
    files = resources.files(__package__)
    style = files.joinpath("page.css").read_text("utf-8")
    page = environment.from_string(files.joinpath("page.html.j2").read_text("utf-8"))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    shown = [one.shown for one in samples]
    return page.render(title=title, facts=facts, samples=shown, style=style, style_sha256=digest).encode()


def _number(value: Any) -> str:  # noqa: ANN401 - a number, or none
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e9):
        return f"{int(value):,}"
    # Beyond four digits, whole ones still count.
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def _shown(sample: Sample) -> dict[str, Any]:
    """Return what the page says and shows of a sample."""
    shades = sample.shades
    found: dict[str, Any] = {
        "name": sample.output.name,
        "problem": sample.problem,
        "note": sample.note,
        "compared": sample.compared,
        "planes": None,
        "slices": [],
    }
    if shades is None:
        return found
    volume = sample.output.receipt["volume"]
    names = ", ".join(plane.name for plane in sample.planes if plane.name)
    found |= {
        "count": volume["native_shape_tzyx"][0] * volume["native_shape_tzyx"][1],
        "planes": {**_encoded(picture_of(sample.planes, shades.levels)), "names": names},
        "window": _window(shades),
        "tilt": volume["tilt_deg"] if (volume["tilt_deg"] or 0) > _TOLD_DEG else None,
        "slices": [_slice(one, volume, shades) for one in sample.slices],
    }
    return found


# Planes of a volume that is sheared by more than this look it.
_TOLD_DEG = 0.1


def _window(shades: Shades) -> str:
    applied = shades.applied
    if applied.function == "NONE":
        return ""
    told = {"embedded": "the source's", "default": "by what it shows"}.get(applied.kind, "by its values")
    return f"window {applied.width:g}/{applied.center:g}, {told}"


def _slice(one: SampledSlice, volume: Mapping[str, Any], shades: Shades) -> dict[str, Any]:
    volumes, slices = volume["native_shape_tzyx"][:2]
    place = f"slice {one.number % slices + 1} of {slices}"
    if volumes > 1:
        place += f", volume {one.number // slices + 1} of {volumes}"
    spacing, edges = volume["spacing_mm"] or (1.0, 1.0), ""
    if volume["native_affine_ras_mm"] is not None:
        affine = np.array(volume["native_affine_ras_mm"], np.float64)
        right, bottom = (direction_letters(affine[:3, axis]) for axis in (0, 1))
        edges = (
            f"left {opposite_letters(right)}, right {right}, top {opposite_letters(bottom)}, bottom {bottom}"
        )
    size = _size(one.found.shape, (spacing[1], spacing[0]))
    found = {
        "place": place,
        "name": one.name,
        "edges": edges,
        "found": _picture(shades.levels(one.found), size),
        "verdict": "",
        "source": None,
        "difference": None,
    }
    if one.source is not None and one.largest is not None:
        unit = f" {volume['units']}" if volume["units"] else ""
        off = f"{one.largest:g}{unit}" if math.isfinite(one.largest) else "infinite"
        found |= {
            "verdict": "equal" if one.is_equal else f"largest difference {off}",
            "source": _picture(shades.levels(one.source), size),
            "difference": _sparse_picture(shades.differences(one.found, one.source), size),
        }
    return found


def _size(shape: Sequence[int], spacing_mm: tuple[float, float]) -> tuple[int, int]:
    """Return width and height, in pixels, of a slice in true proportions."""
    height, width = shape[0] * spacing_mm[0], shape[1] * spacing_mm[1]
    scale = _SIDE / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _picture(levels: NDArray[np.uint8], size: tuple[int, int]) -> dict[str, Any]:
    return _encoded(Image.fromarray(levels).resize(size, Image.Resampling.BILINEAR))


def _sparse_picture(levels: NDArray[np.uint8], size: tuple[int, int]) -> dict[str, Any]:
    """Draw levels so that no bright pixel is lost, however much smaller the picture is."""
    rows, columns = (
        max(1, -(-length // pixels)) for length, pixels in zip(levels.shape, size[::-1], strict=True)
    )
    padded = np.pad(levels, [(0, -levels.shape[0] % rows), (0, -levels.shape[1] % columns)])
    blocks = padded.reshape(padded.shape[0] // rows, rows, padded.shape[1] // columns, columns)
    picture = Image.fromarray(blocks.max(axis=(1, 3)))
    return _encoded(picture.resize(size, Image.Resampling.NEAREST), lossless=True)


def _encoded(picture: Image.Image, *, lossless: bool = False) -> dict[str, Any]:
    stream = io.BytesIO()
    picture.save(stream, "WEBP", lossless=lossless, **_WEBP)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return {"data": f"data:image/webp;base64,{data}", "width": picture.width, "height": picture.height}
