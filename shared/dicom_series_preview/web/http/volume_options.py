"""The options of volumes over HTTP: of a plan, and of a batch that converts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict

from dicom_series_preview.base.errors import RequestError, quoted
from dicom_series_preview.products.pictures.options import Option, table_of
from dicom_series_preview.products.pictures.reading import Reader
from dicom_series_preview.products.volumes.options import VolumeOptions

_CHUNKS = re.compile(r"([1-9][0-9]{0,5}),([1-9][0-9]{0,5}),([1-9][0-9]{0,5})")


class PlanOptions(TypedDict, total=False):
    """What becomes a volume."""

    to: Annotated[
        Literal["zarr", "zip", "sqlite", "nifti", "nii", "npz"],
        Option(
            description="The format. In nifti, nii and npz each projection image is an output of its own.",
            page="the format, `zarr`, `zip`, `sqlite`, `nifti`, `nii` or `npz`; `zarr`. In the last three "
            "each projection image is an output of its own",
            default="zarr",
        ),
    ]
    stack: Annotated[
        int,
        Option(
            description="The one stack to convert; without it, every stack that is no localizer.",
            page="the one stack to convert; every stack that is no localizer",
            low=0,
        ),
    ]
    split: Annotated[
        Sequence[str],
        Option(
            description="The keyword of an element whose values take parts apart.",
            page="the keyword of an element whose values take parts apart; may repeat",
            repeated=True,
            examples=("SliceThickness",),
        ),
    ]
    values: Annotated[
        Literal["modality", "stored"],
        Option(
            description="Values after the modality LUT or rescale, or as stored.",
            page="values after the modality LUT or rescale (`modality`), or as `stored`; `modality`",
            default="modality",
        ),
    ]
    monochrome1: Annotated[
        Literal["keep", "invert"],
        Option(
            description="Whether values are turned around where 0 is white; without it only in npz.",
            page="`keep` or `invert` values where 0 is white; `invert` for npz, else `keep`",
        ),
    ]
    incomplete: Annotated[
        Literal["refuse", "drop"],
        Option(
            description="What becomes of volumes that lack slices.",
            page="volumes of the fourth axis that lack slices: `refuse`, or `drop` the last ones; `refuse`",
            default="refuse",
        ),
    ]
    min_slices: Annotated[
        int,
        Option(
            description="The fewest locations of a volume.",
            page="the fewest locations of a volume; 2",
            default=2,
            low=1,
        ),
    ]
    exclude_derived: Annotated[
        bool,
        Option(
            description="Leave out stacks whose ImageType is DERIVED.",
            page="`true` leaves out stacks whose ImageType is DERIVED; `false`",
            default=False,
        ),
    ]


class ConvertOptions(PlanOptions, total=False):
    """How volumes are written."""

    orient: Annotated[
        Literal["native", "ras"],
        Option(
            description="Axes as stored, or flipped and swapped to right, anterior, superior.",
            page="axes as stored (`native`), or flipped and swapped to right, anterior, superior (`ras`); "
            "`native`",
            default="native",
        ),
    ]
    chunks: Annotated[
        str,
        Option(
            description="The size of Zarr's chunks, Z,Y,X.",
            page="the size of Zarr's chunks, Z,Y,X; 32,128,128",
            examples=("32,128,128",),
        ),
    ]
    clevel: Annotated[
        int,
        Option(
            description="The level of Zarr's compression.",
            page="the level of Zarr's compression, 1 to 9; 3",
            default=3,
            low=1,
            high=9,
        ),
    ]
    zarr_format: Annotated[
        int,
        Option(
            description="The version of Zarr.",
            page="the version of Zarr, 2 or 3; 3",
            default=3,
            low=2,
            high=3,
        ),
    ]


PLAN = table_of(PlanOptions)
CONVERT = table_of(ConvertOptions)


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a batch makes of each series.

    Attributes:
        to: The name of the format.
        options: What becomes a volume.
        chunks: The size of Zarr's chunks (z, y, x); None for the format's own.
        clevel: The level of Zarr's compression.
        zarr_format: 2 or 3.
    """

    to: str
    options: VolumeOptions
    chunks: tuple[int, int, int] | None = None
    clevel: int = 3
    zarr_format: int = 3


def read_plan(given: Mapping[str, Sequence[str]]) -> tuple[str, VolumeOptions]:
    """Return the format and the options of a plan, from a query.

    Raises:
        RequestError: An option is wrong; one error has all reasons.
    """
    reader = Reader.of_strings(PLAN, given)
    found = _volume_options(reader)
    reader.finish()
    return found


def read_conversion(given: Mapping[str, Sequence[str]]) -> Conversion:
    """Return a conversion, from texts.

    Raises:
        RequestError: An option is wrong; one error has all reasons.
    """
    reader = Reader.of_strings(CONVERT, given)
    to, options = _volume_options(reader, orient=reader.value("orient"))
    chunks = reader.value("chunks")
    found = Conversion(
        to,
        options,
        None if chunks is None else reader.tried(lambda: _chunks(chunks), None),
        reader.value("clevel"),
        reader.value("zarr_format"),
    )
    reader.finish()
    return found


def _volume_options(reader: Reader, orient: Literal["native", "ras"] = "native") -> tuple[str, VolumeOptions]:
    to = reader.value("to")
    return to, VolumeOptions(
        stack=reader.value("stack"),
        split=tuple(_all(reader, "split")),
        values=reader.value("values"),
        monochrome1=reader.value("monochrome1") or ("invert" if to == "npz" else "keep"),
        orient=orient,
        incomplete=reader.value("incomplete"),
        min_slices=reader.value("min_slices"),
        exclude_derived=reader.value("exclude_derived"),
    )


def _all(reader: Reader, name: str) -> Sequence[str]:
    reader.read.add(name)
    return reader.given.get(name) or ()


def _chunks(text: str) -> tuple[int, int, int]:
    found = _CHUNKS.fullmatch(text.replace(" ", ""))
    if found is None:
        raise RequestError("chunks", f"{quoted(text)} is not three whole numbers Z,Y,X, such as 32,128,128")
    return int(found[1]), int(found[2]), int(found[3])
