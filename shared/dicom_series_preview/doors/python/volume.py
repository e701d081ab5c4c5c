"""A volume of a series in Python: an array, where it lies in the patient, and files of it."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np

from dicom_series_preview.base.errors import RequestError, quoted
from dicom_series_preview.products.volumes.convert import Converter
from dicom_series_preview.products.volumes.digest import file_order
from dicom_series_preview.products.volumes.display import Shades
from dicom_series_preview.products.volumes.extents import Extent, Slab
from dicom_series_preview.products.volumes.formats.base import WriteOptions
from dicom_series_preview.products.volumes.formats.table import format_of_path
from dicom_series_preview.products.volumes.memory import held
from dicom_series_preview.products.volumes.options import VolumeOptions
from dicom_series_preview.products.volumes.plan import plan_volumes
from dicom_series_preview.products.volumes.planes import Middle, picture_of
from dicom_series_preview.products.volumes.refusal import RefusedError
from dicom_series_preview.products.volumes.reorder import affine_in
from dicom_series_preview.products.volumes.series import in_words
from dicom_series_preview.products.volumes.slabs import RefusedVolumeError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.base.settings import Limits
    from dicom_series_preview.products.volumes.plan import PlannedVolume, VolumesPlan
    from dicom_series_preview.products.volumes.refusal import Refusal


class VolumeChoices(TypedDict, total=False):
    """What volumes to make of a series, as `convert` takes it; docs/python.md says what each means."""

    stack: int | None
    split: Sequence[str]
    values: Literal["modality", "stored"]
    monochrome1: Literal["keep", "invert"]
    orient: Literal["native", "ras"]
    incomplete: Literal["refuse", "drop"]
    min_slices: int
    exclude_derived: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Origin:
    """What a volume was made of, to write it.

    Attributes:
        plan: The volumes of its series.
        number: Which of them it is.
        choices: What was asked for.
        limits: The bounds of work.
    """

    plan: VolumesPlan
    number: int
    choices: VolumeChoices
    limits: Limits

    @property
    def planned(self) -> PlannedVolume:
        return self.plan.volumes[self.number]

    def refused(self, refusal: Refusal) -> RefusedError:
        return RefusedError(self.plan.opened.title, self.plan.opened.storage.url, refusal)


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A volume of a series in memory, which a notebook shows by three planes through its middle.

    Attributes:
        data: The values: in Hounsfield units of CT, see `units`. Its axes are `axes`.
        affine: float64 (4, 4): takes indices of the axes z, y, x, in the order of `data`, to RAS millimetres.
        axes: `z`, `y`, `x`; before them `t` where there are several volumes; after them `c` of colour.
        spacing_mm: The length of a step along z, y and x.
        units: The unit of the values, or empty.
        report: What it was made of and what it holds, as a file's receipt says it.
    """

    data: NDArray[Any] = field(repr=False)
    affine: NDArray[np.float64] = field(repr=False)
    axes: tuple[str, ...]
    spacing_mm: tuple[float, float, float]
    units: str
    report: Mapping[str, Any] = field(repr=False)
    _origin: _Origin = field(repr=False)

    def to_zarr(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the volume as Zarr: `.zarr`, `.zarr.zip`, `.ozx` or `.sqlite`, by the path's extension.

        It is read from the series again, not from `data`, and each slice of the file is compared with what
        was read. A file that has the same source and options already stays.

        Args:
            path: The file or folder.
            overwrite: Replace what lies there, whatever it is.

        Raises:
            RequestError: The path has another extension.
            RefusedError: There is no such volume any more, or something else lies there.
            PreviewError: The series cannot be read.
        """
        self._write(path, ("zarr", "zip", "sqlite"), overwrite=overwrite)

    def to_nifti(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the volume as NIfTI, `.nii.gz` or `.nii`, and its sidecar; see `to_zarr`."""
        self._write(path, ("nifti", "nii"), overwrite=overwrite)

    def to_npz(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the volume as NPZ; see `to_zarr`. MONOCHROME1 is turned around unless chosen otherwise."""
        self._write(path, ("npz",), overwrite=overwrite)

    def _write(self, path: str | os.PathLike[str], names: tuple[str, ...], *, overwrite: bool) -> None:
        target, origin = Path(path), self._origin
        chosen, _ = format_of_path(str(target))
        if chosen.name not in names:
            raise RequestError(
                "path", f"{quoted(target.name)} is no {names[0]}: its extension says {chosen.name}"
            )
        choices = origin.choices
        if chosen.name == "npz":
            choices = {"monochrome1": "invert", **choices}
        options = options_of(choices)
        plan, number = origin.plan, origin.number
        if options != options_of(origin.choices):
            plan = plan_volumes(plan.opened, options)
        converter = Converter(
            chosen, options, WriteOptions(options.orient), origin.limits, overwrite=overwrite
        )
        try:
            converter.convert(plan, plan.volumes[number], target)
        except RefusedVolumeError as error:
            raise origin.refused(error.refusal) from error

    def _repr_html_(self) -> str:
        has_time, is_colour = "t" in self.axes, "c" in self.axes
        array = self.data if has_time else self.data[np.newaxis]
        middle = Middle(array.shape, array.dtype)
        middle.add(Slab(Extent((0, array.shape[0]), (0, array.shape[1])), array))
        planes = middle.planes(self.affine[:, [2, 1, 0, 3]])
        told = self.report["volume"]
        padding = None if is_colour else told["padding_value"]
        shades = Shades.of(told["display"], padding, [plane.values for plane in planes])
        picture, stream = picture_of(planes, shades.levels), io.BytesIO()
        picture.save(stream, "PNG")
        text = base64.b64encode(stream.getvalue()).decode("ascii")
        size = f'width="{picture.width}" height="{picture.height}"'
        image = f'<img src="data:image/png;base64,{text}" {size} alt="planes through the middle of a volume">'
        return f"<figure>{image}<figcaption>{html.escape(in_words(self.report))}</figcaption></figure>"


def options_of(choices: VolumeChoices) -> VolumeOptions:
    """Return what was asked for, whole.

    Raises:
        RequestError: A choice is none.
        TypeError: The elements to split by are no list.
    """
    if isinstance(choices.get("split"), str):
        raise TypeError("split is a list of keywords, not one text")
    known: Any = {**choices, "split": tuple(choices.get("split", ()))}
    for name, words in _WORDS.items():
        if known.get(name, words[0]) not in words:
            raise RequestError(name, f"{quoted(str(known[name]))} is none of {', '.join(words)}")
    if known.get("min_slices", 2) < 1:
        raise RequestError("min_slices", "is at least 1")
    return VolumeOptions(**known)


_WORDS = {
    "values": ("modality", "stored"),
    "monochrome1": ("keep", "invert"),
    "orient": ("native", "ras"),
    "incomplete": ("refuse", "drop"),
}


def read_volume(opened: OpenedSeries, number: int, choices: VolumeChoices, limits: Limits) -> Volume:
    """Read a volume of a series.

    Raises:
        RequestError: There is no such volume, or a choice is none.
        RefusedError: There is none, for a reason.
        StorageError: The storage fails beyond every retry.
    """
    options = options_of(choices)
    plan = plan_volumes(opened, options)
    if not plan.volumes:
        raise RefusedError(opened.title, opened.storage.url, plan.refused[0].refusal)
    if not 0 <= number < len(plan.volumes):
        most = len(plan.volumes) - 1
        raise RequestError("n", f"{number} is none of this series' volumes: 0 to {most}")
    origin = _Origin(plan, number, choices, limits)
    volume = origin.planned
    try:
        found = held(plan, volume, options, limits)
    except RefusedVolumeError as error:
        raise origin.refused(error.refusal) from error
    place = volume.placement
    if place is None:
        raise AssertionError("only single images have no place")
    order = file_order(place.affine, options.orient)
    data = order.applied(found.data)
    has_time, is_colour = data.shape[0] > 1, data.ndim > 4
    affine = affine_in(place.affine, order, volume.shape)
    z, y, x = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    axes = (*("t",) * has_time, "z", "y", "x", *("c",) * is_colour)
    array = np.ascontiguousarray(data if has_time else data[0])
    return Volume(array, affine, axes, (z, y, x), volume.units, found.receipt, origin)
