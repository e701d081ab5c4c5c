"""The receipt of a volume: of what it was made, how, and what it holds. Nothing else is trusted later."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dicom_series_preview._version import __version__
from dicom_series_preview.pixels.codecs.registry import decoder_of
from dicom_series_preview.products.volumes.display import display_document
from dicom_series_preview.products.volumes.formats.attributes import axis_document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dicom_series_preview.products.volumes.formats.base import WriteOptions
    from dicom_series_preview.products.volumes.options import VolumeOptions
    from dicom_series_preview.products.volumes.plan import PlannedVolume, VolumesPlan
    from dicom_series_preview.products.volumes.reorder import Order
    from dicom_series_preview.products.volumes.slabs import Reading
    from dicom_series_preview.products.volumes.values import Measures

# Increases when the same source gives another volume.
RULES = 1
# What a copy of an output in a bucket does without.
_MAY_LACK = {"nifti"}
_SERIES = ("SeriesInstanceUID", 0x0020000E)


@dataclass(frozen=True, slots=True)
class Made:
    """A volume as it was written.

    Attributes:
        reading: How it was read.
        order: The order of its axes in the file.
        sha256: The digest of its canonical array.
        proved: How many slices are read back and compared before the output is put in its place.
    """

    reading: Reading
    order: Order
    sha256: str
    proved: int = 0


def identity_of(
    volume: PlannedVolume, options: VolumeOptions, write: WriteOptions, name: str
) -> dict[str, Any]:
    """Return what decides an output: its source, the options and the rules; equal ones are not made again."""
    digest = hashlib.sha256()
    objects: dict[str, tuple[str, int]] = {}
    for item in volume.sources:
        objects[item.file_name] = (item.object_version, item.object_size)
    for item in volume.slices:
        digest.update(
            repr((item.file_name, item.frame_number, item.object_version, item.object_size)).encode()
        )
    return {
        "rules": RULES,
        "format": name,
        "options": {**_plain(asdict(options)), **_plain(asdict(write))},
        "source": {
            "digest": digest.hexdigest(),
            "objects": len(objects),
            "bytes": sum(size for _, size in objects.values()),
        },
    }


def series_uid_of(volume: PlannedVolume) -> str | None:
    """Return the SeriesInstanceUID of a volume's first slice."""
    uid = volume.frames.cells.values([volume.slices[0].row], *_SERIES)[0]
    return None if uid is None else str(uid)


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}


def receipt_of(
    plan: VolumesPlan, volume: PlannedVolume, made: Made, identity: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a receipt as JSON values: nothing in it differs from run to run."""
    reading, place = made.reading, volume.placement
    measures = [reading.measures[number] for number in range(len(volume.slices))]
    lows = [one.low for one in measures if one.low is not None]
    highs = [one.high for one in measures if one.high is not None]
    count = sum(one.count for one in measures)
    dims = [volume.shape[3], volume.shape[2], volume.shape[1], *([volume.shape[0]] if volume.axis else [])]
    syntaxes = sorted({item.pixels.transfer_syntax_uid for item in volume.sources})
    return {
        "product": "dicom-series-preview",
        "version": __version__,
        **identity,
        "series_instance_uid": series_uid_of(volume),
        "volume": {
            "name": volume.suffix,
            "stack": volume.stack,
            "part": volume.words,
            "dims_xyzt": dims,
            "native_shape_tzyx": list(volume.shape),
            "order": {"axes": list(made.order.axes), "flipped": sorted(made.order.flipped)},
            "native_affine_ras_mm": None if place is None else place.affine.tolist(),
            "spacing_mm": None if place is None else list(place.spacing_mm),
            "orientation": None if place is None else place.letters,
            "largest_deviation_mm": None if place is None else place.deviation_mm,
            "tilt_deg": None if place is None else place.tilt_deg,
            "dtype": str(reading.dtype),
            "units": volume.units or None,
            "min": min(lows, default=None),
            "max": max(highs, default=None),
            "mean": sum(one.total for one in measures) / count if count else None,
            "padding_value": volume.padding,
            "fourth_axis": axis_document(volume),
            "sha256": made.sha256,
            "slices_sha256": together(measures),
            "slices_proved": made.proved,
            "display": display_document(volume),
        },
        "decoders": [asdict(decoder_of(uid)) for uid in syntaxes],
        "skipped": {
            "localizer_slices": plan.localizers,
            "derived_slices": plan.derived,
            "objects": len(plan.index.provenance.skipped),
            "refused_parts": [{"part": one.told, "code": one.refusal.code} for one in plan.refused],
        },
        "warnings": [{"code": code, "text": text} for code, text in (*volume.warnings, *reading.warnings)],
    }


def sealed(receipt: Mapping[str, Any], said: Mapping[str, bytes]) -> dict[str, Any]:
    """Return a receipt with the digests of what its file says, and its own: see `broken_seal`."""
    digests = {name: hashlib.sha256(part).hexdigest() for name, part in said.items()}
    whole = {**receipt, "said_sha256": digests}
    return {**whole, "receipt_sha256": _digest(whole)}


def broken_seal(receipt: Mapping[str, Any], said: Mapping[str, bytes]) -> str:
    """Say what was changed: the receipt, or a part of what its file says; empty where nothing was."""
    whole = {name: value for name, value in receipt.items() if name != "receipt_sha256"}
    if receipt.get("receipt_sha256") != _digest(whole):
        return "receipt"
    digests = dict(whole["said_sha256"])
    for name in _MAY_LACK - said.keys():
        digests.pop(name, None)
    found = {name: hashlib.sha256(part).hexdigest() for name, part in said.items()}
    return next((name for name in {**digests, **found} if digests.get(name) != found.get(name)), "")


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(document)).hexdigest()


def canonical_json(document: Any) -> bytes:  # noqa: ANN401 - JSON values
    """Return JSON values as the bytes that equal values always have."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def together(measures: Sequence[Measures]) -> str:
    """Return the digest of the digests of all slices."""
    return hashlib.sha256("".join(one.sha256 for one in measures).encode()).hexdigest()


def is_same(receipt: Mapping[str, Any], identity: Mapping[str, Any]) -> bool:
    """Return True where a receipt is of the same source, options and rules."""
    return all(receipt.get(key) == value for key, value in identity.items())
