"""What stands beside an output: the elements of its series, and a row for each of its slices.

Only elements of a list come out. Those that say who the patient is do so only where they are to be kept.
"""

from __future__ import annotations

import csv
import io
import json
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.products.volumes.formats.zarr import chunks_of
from dicom_series_preview.products.volumes.placement import deviations_mm
from dicom_series_preview.products.volumes.plan import planes_of
from dicom_series_preview.sources.headers.dictionary import tag_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dicom_series_preview.products.volumes.convert import Finished

IDENTITY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientBirthTime", "OtherPatientIDs"),
    *("PatientAddress", "PatientTelephoneNumbers", "AccessionNumber", "StudyID"),
    *("InstitutionName", "InstitutionAddress"),
)
"""Elements that come out with `--identity keep` only."""

_SERIES = (
    *("PatientSex", "PatientAge", "StudyInstanceUID", "SeriesInstanceUID", "StudyDate", "SeriesDate"),
    *("StudyDescription", "SeriesDescription", "SeriesNumber", "Modality", "Manufacturer"),
    *("ManufacturerModelName", "BodyPartExamined", "Laterality", "PatientPosition", "ProtocolName"),
    *("ConvolutionKernel", "ReconstructionDiameter", "KVP", "MagneticFieldStrength", "FrameOfReferenceUID"),
    *("SOPClassUID", "ImageType", "Rows", "Columns", "PixelSpacing", "SliceThickness"),
    *("SpacingBetweenSlices", "ImageOrientationPatient", "PhotometricInterpretation", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel", "RescaleSlope", "RescaleIntercept"),
    *("RescaleType", "WindowCenter", "WindowWidth", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RepetitionTime", "EchoTime", "InversionTime", "FlipAngle", "Units"),
)
_SLICES = (
    *("SliceLocation", "AcquisitionNumber", "AcquisitionDate", "AcquisitionTime", "ContentTime"),
    *("TriggerTime", "TemporalPositionIdentifier", "FrameReferenceTime", "ActualFrameDuration"),
    *("DiffusionBValue", "ExposureTime", "XRayTubeCurrent"),
)
_BLOCK = 2048
_ZARR = ("zarr", "zip", "sqlite")
_ALWAYS = ("SOPInstanceUID", "InstanceNumber", "ImagePositionPatient")


@dataclass(frozen=True, slots=True)
class MetaOptions:
    """How an output is described.

    Attributes:
        identity: Say who the patient is.
        store_type: What the outputs' format is called.
        now: Returns the seconds since 1970.
    """

    identity: bool
    store_type: str
    now: Callable[[], float] = time.time


def meta_files(
    finished: Finished, name: str, options: MetaOptions, known: Mapping[str, Any]
) -> dict[str, bytes]:
    """Return the files that describe an output, by path below the folder of all outputs.

    Args:
        finished: The output.
        name: What it is called: its path below that folder, without its extension.
        options: What to say.
        known: What the manifest says of its series.
    """
    described = _Described(finished, options)
    document = {**known, **described.series_document()}
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return {
        f"meta/{name}.series.json": text.encode(),
        f"meta/{name}.slices.csv": csv_of(described.slice_rows()),
    }


def csv_of(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return rows as CSV; the first one's keys are the columns, lists are joined as DICOM joins values."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return text.getvalue().encode("utf-8", "surrogateescape")


def _cell(value: Any) -> Any:  # noqa: ANN401 - a cell
    if isinstance(value, (list, tuple)):
        return "\\".join("" if one is None else str(one) for one in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value


@dataclass(frozen=True)
class _Described:
    """What is known of a finished volume."""

    finished: Finished
    options: MetaOptions

    @cached_property
    def elements(self) -> dict[str, list[Any]]:
        """The values of each element that comes out, one for each slice."""
        volume = self.finished.volume
        rows = [item.row for item in volume.slices]
        names = (*_ALWAYS, *(IDENTITY if self.options.identity else ()), *_SERIES, *_SLICES)
        cells, found = volume.frames.cells, {name: list[Any]() for name in names}
        # A block's functional groups are parsed once for all elements.
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            for name, values in found.items():
                values.extend(map(_plain, cells.values(block, name, tag_of(name))))
        return found

    @property
    def _varying(self) -> list[str]:
        return [
            name
            for name, values in self.elements.items()
            if name not in _ALWAYS and any(one != values[0] for one in values)
        ]

    def series_document(self) -> dict[str, Any]:
        """The elements that are the same in all slices, and what was made of them."""
        finished, varying = self.finished, {*_ALWAYS, *self._varying}
        same = {name: values[0] for name, values in self.elements.items() if name not in varying}
        of_volume, skipped = finished.receipt["volume"], finished.receipt["skipped"]
        steps = of_volume["spacing_mm"]
        moment = time.gmtime(self.options.now())
        return {
            **{name: value for name, value in same.items() if value is not None},
            "slice_count": len(finished.volume.slices),
            "volume_shape": of_volume["native_shape_tzyx"][0 if finished.volume.axis else 1 :],
            "dtype": of_volume["dtype"],
            "store_type": self.options.store_type,
            "chunks": _chunks(finished),
            "spacing_z_median": None if steps is None else steps[2],
            "converted_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", moment),
            "read_errors": skipped["objects"],
            "localizer_skipped": skipped["localizer_slices"],
            "derived_skipped": skipped["derived_slices"],
            # There is no output whose proof has failed.
            "verify_ok": True if finished.is_proved else None,
            "max_deviation_mm": of_volume["largest_deviation_mm"],
            "tilt_deg": of_volume["tilt_deg"],
            "sha256": of_volume["sha256"],
        }

    def slice_rows(self) -> list[dict[str, Any]]:
        """A row for each slice, in the volume's order."""
        volume, measures = self.finished.volume, self.finished.reading.measures
        positions = volume.frames.positions[volume.grid.members].reshape(-1, 3)
        deviations = self._deviations()
        varying = self._varying
        rows: list[dict[str, Any]] = []
        for number, item in enumerate(volume.slices):
            position = positions[number]
            rows.append(
                {
                    "slice_index": number,
                    **({"volume_index": number // volume.shape[1]} if volume.axis else {}),
                    "file_name": item.file_name,
                    "frame_number": item.frame_number,
                    "SOPInstanceUID": item.sop_instance_uid,
                    "InstanceNumber": item.instance_number,
                    "ImagePositionPatient": None if np.isnan(position).any() else position.tolist(),
                    **{name: self.elements[name][number] for name in varying},
                    "deviation_mm": None if deviations is None else round(float(deviations[number]), 6),
                    "sha256": measures[number].sha256,
                    "object_version": item.object_version,
                    "object_size": item.object_size,
                }
            )
        return rows

    def _deviations(self) -> Any:  # noqa: ANN401 - an array, or None
        volume = self.finished.volume
        if volume.placement is None:
            return None
        planes = planes_of(volume.frames, volume.grid, volume.shape[2:4])  # type: ignore[arg-type]
        return deviations_mm(planes, volume.placement).ravel()


def _plain(value: Any) -> Any:  # noqa: ANN401 - a cell
    """Return a cell as JSON values: dates and times as text, several values as a list."""
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        # A person's name in DICOM JSON.
        return value.get("Alphabetic")
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def _chunks(finished: Finished) -> list[int] | None:
    """Return the sizes of a Zarr array's chunks."""
    return chunks_of(finished.path) if finished.receipt["format"] in _ZARR else None
