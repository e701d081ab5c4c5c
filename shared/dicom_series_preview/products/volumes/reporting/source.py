"""Decode slices of a volume anew from its source, by what its receipt says of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.base.errors import NoImageError, RequestError
from dicom_series_preview.pixels.slices import FailedSlice
from dicom_series_preview.pixels.stream import read_slices
from dicom_series_preview.products.volumes.formats.base import WriteOptions
from dicom_series_preview.products.volumes.options import VolumeOptions
from dicom_series_preview.products.volumes.plan import plan_volumes
from dicom_series_preview.products.volumes.receipt import identity_of
from dicom_series_preview.products.volumes.refusal import called
from dicom_series_preview.products.volumes.slabs import reader_of
from dicom_series_preview.products.volumes.values import DoesNotFitError, put_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.base.settings import Limits
    from dicom_series_preview.pixels.slices import DecodedSlice
    from dicom_series_preview.products.volumes.plan import PlannedVolume, VolumesPlan


_SERIES = ("SeriesInstanceUID", 0x0020000E)


class NoSourceError(Exception):
    """The source of a volume is not what it was, in one line."""


@dataclass(frozen=True, slots=True)
class Source:
    """The source of a volume.

    Attributes:
        plan: Its series' volumes.
        volume: The volume.
        limits: The bounds of work.
        is_same: Its objects have the versions that the volume was made of.
    """

    plan: VolumesPlan
    volume: PlannedVolume
    limits: Limits
    is_same: bool = True

    def decoded(self, numbers: Sequence[int], dtype: np.dtype[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
        """Fetch and decode slices; yield their numbers and values, in any order.

        Args:
            numbers: Places in (t, z), row by row.
            dtype: The type of the volume's values.

        Raises:
            NoSourceError: A slice cannot be had or decoded.
            StorageError: The storage fails beyond every retry.
        """
        slices = [self.volume.slices[number] for number in numbers]
        number_of = {item.row: number for number, item in zip(numbers, slices, strict=True)}

        def values(found: DecodedSlice | FailedSlice) -> NDArray[Any]:
            if isinstance(found, FailedSlice):
                raise NoSourceError(f"{called(found.slice)} cannot be read or decoded any more")
            into = np.empty(self.volume.shape[2:], dtype)
            try:
                put_values(found, self.volume.values, into)
            except DoesNotFitError as error:
                raise NoSourceError(f"{called(found.slice)} has values that {dtype} cannot hold") from error
            return into

        for arrived, array in read_slices(reader_of(self.plan, self.limits), slices, values):
            yield number_of[arrived.slice.row], array

    def name(self, number: int) -> str:
        """Return the SOPInstanceUID of a slice, and its frame if there are several."""
        return called(self.volume.slices[number])


def source_of(receipt: Mapping[str, Any], opened: OpenedSeries, limits: Limits) -> Source:
    """Find a volume in its series again.

    Args:
        receipt: The volume's.
        opened: The series.
        limits: The bounds of work.

    Raises:
        NoSourceError: The series is no longer what the volume was made of.
    """
    options, write = _options(receipt)
    name = str(receipt["format"])
    try:
        plan = plan_volumes(opened, options, single_images=name in ("nifti", "nii", "npz"))
    except (NoImageError, RequestError) as error:
        raise NoSourceError("the series has no such volume any more") from error
    for volume in plan.volumes:
        if identity_of(volume, options, write, name)["source"] == receipt["source"]:
            return Source(plan, volume, limits)
    # A copy of the source has other versions, and its own values: they are compared all the same.
    told = receipt["volume"]
    for volume in plan.volumes:
        uid = volume.frames.cells.values([volume.slices[0].row], *_SERIES)[0]
        is_alike = volume.suffix == told["name"] and list(volume.shape) == list(told["native_shape_tzyx"])
        if is_alike and uid == receipt["series_instance_uid"]:
            return Source(plan, volume, limits, is_same=False)
    raise NoSourceError("the series has changed since: it has no such volume any more")


def _options(receipt: Mapping[str, Any]) -> tuple[VolumeOptions, WriteOptions]:
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in receipt["options"].items()
    }
    try:
        return (
            VolumeOptions(**{one.name: given[one.name] for one in fields(VolumeOptions)}),
            WriteOptions(**{one.name: given[one.name] for one in fields(WriteOptions)}),
        )
    except KeyError as error:
        raise NoSourceError("its receipt does not say how it was made") from error
