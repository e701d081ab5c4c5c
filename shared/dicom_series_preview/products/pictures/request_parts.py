"""Read the parts that the requests of pictures share: series, form, range and contrasts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.catalogue.at import At, parse_at
from dicom_series_preview.archive.index.held import PADDING
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.pixels.contrast.spec import DEFAULT, ContrastSpec, parse_contrast
from dicom_series_preview.products.pictures.formats import ImageFormat
from dicom_series_preview.products.pictures.options import (
    DEFAULT_IMAGE_WIDTH,
    EARLIER,
    MOST_CONTRASTS,
    MOST_PLACES,
)

if TYPE_CHECKING:
    from dicom_series_preview.products.pictures.reading import Reader

NO_FILE = "-"
"""The output that is no file; the option `format` names its format."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The form of a picture.

    Attributes:
        image_format: WebP, JPEG or PNG.
        quality: 0 (smallest) to 100 (best); 100 for PNG.
        image_width: Width of one tile in pixels; its height follows the image's proportions.
        stack: The stack to show, 0 for the main one.
        at: The places on the stack's dimensions; on any other, the first is shown.
        untile: Siemens mosaics are shown as the slices in them.
        overlays: Overlay planes are drawn into the images.
        labels: Each tile shows its position, contrast and directions.
        series_uid: The one SeriesInstanceUID to show of the series; empty for all that it holds.
    """

    image_format: ImageFormat
    quality: int
    image_width: int = DEFAULT_IMAGE_WIDTH
    stack: int = 0
    at: tuple[At, ...] = ()
    untile: bool = False
    overlays: bool = False
    labels: bool = False
    series_uid: str = ""


def read_series(reader: Reader, text: str) -> SeriesName:
    """Read the name of the series."""
    return reader.tried(lambda: SeriesName.parse(text), SeriesName(""))


def read_picture(reader: Reader, output: str) -> Picture:
    """Read the form of the picture."""
    image_format = _format(reader, output)
    if image_format.lossless and "quality" in reader.named:
        name = image_format.pillow_name
        reader.problem(RequestError("quality", f"{name} loses nothing and has none; leave it out"))
    quality = reader.value("quality")
    return Picture(
        image_format=image_format,
        quality=image_format.default_quality if quality is None else quality,
        image_width=reader.value("image_width"),
        stack=reader.value("stack"),
        at=_places(reader),
        untile=reader.value("untile"),
        overlays=reader.value("overlays"),
        labels=reader.value("labels"),
        series_uid=_series_uid(reader),
    )


def _series_uid(reader: Reader) -> str:
    """Return the one SeriesInstanceUID to show, without padding."""
    uid = reader.value("series_uid")
    if uid is not None and not uid.strip(PADDING):
        reader.problem(RequestError("series_uid", "is empty; give a SeriesInstanceUID, or leave it out"))
    return (uid or "").strip(PADDING)


def _format(reader: Reader, output: str) -> ImageFormat:
    """Return the format of a file's extension; for standard output the named one, else WebP."""
    text = reader.raw("format")
    named = None
    if text is not None:
        named = reader.tried(lambda: ImageFormat.from_name(str(text), reader.called("format")), None)
    if output == NO_FILE:
        return named or ImageFormat.WEBP
    image_format = reader.tried(lambda: ImageFormat.from_path(output), ImageFormat.WEBP)
    if named not in (None, image_format):
        reader.problem(RequestError("format", f"{text} is another one than that of `output`, {output}"))
    return image_format


def _places(reader: Reader) -> tuple[At, ...]:
    """Read `at`, which may be given several times."""
    reader.read.add("at")
    texts = reader.given.get("at") or ()
    if len(texts) > MOST_PLACES:
        reader.problem(RequestError("at", f"is given {len(texts)} times; give {MOST_PLACES} at most"))
        return ()
    option = reader.table["at"]
    parsed = [reader.tried(lambda: parse_at(reader.read_one(option, text)), None) for text in texts]  # noqa: B023 - called at once
    return tuple(place for place in parsed if place is not None)


def read_range(reader: Reader) -> tuple[float, float]:
    """Read `start` and `end`."""
    before = len(reader.problems)
    start, end = reader.value("start"), reader.value("end")
    if start > end and len(reader.problems) == before:
        reader.problem(RequestError("start", f"{start:g} is greater than `end`, {end:g}"))
    return start, end


def read_contrast(reader: Reader) -> ContrastSpec:
    """Read the one contrast."""
    contrasts = read_contrasts(reader)
    if len(contrasts) > 1:
        reader.problem(RequestError("contrast", "is given more than once; contrast-mosaic compares several"))
    return contrasts[0] if contrasts else DEFAULT


def read_contrasts(reader: Reader) -> tuple[ContrastSpec, ...]:
    """Read the contrasts: `contrast`, or the earlier `contrast_preset` or `window_width`, `window_center`."""
    texts = _contrast_texts(reader)
    parsed = [reader.tried(partial(_parsed, reader, text), None) for text in texts]
    return tuple(spec for spec in parsed if spec is not None)


def _parsed(reader: Reader, text: Any) -> ContrastSpec:  # noqa: ANN401 - a text, or what Python was given
    return parse_contrast(reader.read_one(reader.table["contrast"], text))


def _contrast_texts(reader: Reader) -> list[Any]:
    """Return the contrasts as given, in any of their forms."""
    reader.read.add("contrast")
    texts = list(reader.given.get("contrast") or ())
    preset, width, center = (reader.raw(option.name) for option in EARLIER)
    ways = [bool(texts), preset is not None, width is not None or center is not None]
    if len(texts) > MOST_CONTRASTS:
        reader.problem(
            RequestError("contrast", f"is given {len(texts)} times; give {MOST_CONTRASTS} at most")
        )
        return []
    if sum(ways) > 1:
        reader.problem(
            RequestError(
                "contrast", "give `contrast`, `contrast_preset`, or `window_width` with `window_center`"
            )
        )
        return []
    if preset is not None:
        return [preset]
    if width is not None and center is not None:
        return [f"{width}/{center}"]
    if width is not None or center is not None:
        missing = "window_center" if center is None else "window_width"
        reader.problem(RequestError(missing, "is needed too: a window has a width and a center"))
    return texts
