"""Generate series of any length to measure: their own headers, shared pixels, nothing twice in memory.

Anatomy and noise come from the built-in sample. We make a few of its slices, and every slice of a series is
one of them: 5,000 native slices of 512 x 512 are 2.6 GB to a client, and 4 MB here.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import openjpeg.utils
from kinds import NATIVE, RESCALE, WINDOW
from pydicom import Dataset, Sequence
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicom_sample.instances import Plan, axial
from dicom_sample.phantom import LENGTH_MM, Phantom, scan

if TYPE_CHECKING:
    from kinds import Kind
    from numpy.typing import NDArray

BODIES = 6
# More slices than any codec sees at once.
_DIFFERENT = 24
_JOINED_BYTES = 4096
_UNDEFINED = b"\xff\xff\xff\xff"
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
# The parts of the template that differ from slice to slice; each value has the same width.
_TOKENS = {
    "uid": "2.25.77000000000000000000000000000000000001",
    "instance": "7700002",
    "z": "-7700.003",
    "location": "-7700.004",
    "acquired": "070000.770005",
    "content": "070000.770006",
    "current": "7708",
    "frame": "7700009",
}
_NAME_OF = {text.encode(): name for name, text in _TOKENS.items()}


class Stored:
    """One object, as pieces that others can share.

    Attributes:
        size: Bytes.
        etag: Its version, quoted.
    """

    __slots__ = ("_pieces", "_starts", "etag", "size")

    def __init__(self, pieces: list[bytes], etag: str) -> None:
        self._pieces = _joined(pieces)
        *self._starts, self.size = accumulate(map(len, self._pieces), initial=0)
        self.etag = etag

    def cut(self, start: int, end: int) -> list[bytes | memoryview]:
        """Return the bytes from `start` to `end`, uncopied."""
        found: list[bytes | memoryview] = []
        number = bisect_right(self._starts, start) - 1
        while start < end:
            piece, begins = self._pieces[number], self._starts[number]
            last = min(end, begins + len(piece))
            whole = start == begins and last == begins + len(piece)
            found.append(piece if whole else memoryview(piece)[start - begins : last - begins])
            start, number = last, number + 1
        return found


def _joined(pieces: list[bytes]) -> list[bytes]:
    """Return the pieces, with short neighbours joined."""
    joined: list[bytes] = []
    for piece in pieces:
        if joined and len(joined[-1]) + len(piece) <= _JOINED_BYTES:
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


@dataclass(frozen=True, slots=True)
class Series:
    """A served series, and the requests of a client that knows everything in advance.

    Attributes:
        kind: Its kind.
        objects: File name to object.
        header_bytes: Length of the longest header, up to the pixels.
        frames: For each frame in display order: file name, first byte, one past the last.
    """

    kind: Kind
    objects: dict[str, Stored]
    header_bytes: int
    frames: list[tuple[str, int, int]]


def generate(kind: Kind) -> Series:
    """Make a series."""
    template = _template(kind)
    bodies = [_body(samples, kind) for samples in _pictures(kind)]
    objects, frames, longest = {}, [], 0
    for number in range(kind.objects):
        header = _filled(template, number, kind)
        if kind.frames > 1:
            header.append(_per_frame(number, kind))
        pieces, places = _pixel_element(bodies, number, kind)
        at = sum(map(len, header)) + len(pieces[0])
        longest = max(longest, at)
        # Names say nothing about the order, as in an archive.
        digest = hashlib.sha256(f"{kind.name}/{number}".encode()).hexdigest()
        name = f"{digest[:36]}.dcm"
        objects[name] = Stored([*header, *pieces], f'"{digest[:32]}"')
        frames += [(name, at + start, at + end) for start, end in places]
    return Series(kind, dict(sorted(objects.items())), longest, frames)


@cache
def _samples(side: int) -> list[NDArray[np.uint16]]:
    """Return slices of the sample, as stored values of 12 bits."""
    phantom, images = Phantom(0), []
    for number in range(BODIES):
        depth = LENGTH_MM * (0.15 + 0.7 * number / (BODIES - 1))
        hounsfield = scan(phantom.slice(depth), depth, np.random.default_rng([0, 2, number]))
        stored = np.clip(np.rint(hounsfield + 1024), 0, 4095).astype("<u2")
        step = stored.shape[0] // side
        images.append(np.ascontiguousarray(stored[::step, ::step][:side, :side]))
    return images


def _pictures(kind: Kind) -> list[NDArray[np.uint16]]:
    """Return the pictures of a series; in a volume they are shifted, and take turns."""
    samples = _samples(kind.side)
    if not kind.is_volume:
        return samples
    return [np.roll(samples[n % len(samples)], (37 * n, 53 * n), (0, 1)) for n in range(_DIFFERENT)]


def _body(samples: NDArray[np.uint16], kind: Kind) -> bytes:
    if kind.transfer_syntax_uid == NATIVE:
        return samples.tobytes()
    codestream = bytes(
        openjpeg.utils.encode_array(samples, bits_stored=12, photometric_interpretation=2, codec_format=0)
    )
    return codestream + bytes(len(codestream) % 2)


def _pixel_element(bodies: list[bytes], number: int, kind: Kind) -> tuple[list[bytes], list[tuple[int, int]]]:
    """Return the element in pieces, and the places of its frames, counted from the end of the first piece."""
    first = number * kind.frames
    total = kind.objects * kind.frames
    numbers = range(first, first + kind.frames)
    chosen = [bodies[n % len(bodies) if kind.is_volume else n * len(bodies) // total] for n in numbers]
    if kind.transfer_syntax_uid == NATIVE:
        length = sum(map(len, chosen))
        ends = list(accumulate(map(len, chosen)))
        head = b"\xe0\x7f\x10\x00OW\0\0" + length.to_bytes(4, "little")
        return [head, *chosen], list(zip([0, *ends], ends, strict=False))
    # An empty offset table, then one fragment per frame. A client reads the fragment's own head too.
    pieces, places, at = [b"\xe0\x7f\x10\x00OB\0\0" + _UNDEFINED + _ITEM + bytes(4)], [], 0
    for body in chosen:
        pieces += [_ITEM + len(body).to_bytes(4, "little"), body]
        places.append((at, at + 8 + len(body)))
        at += 8 + len(body)
    return [*pieces, _END + bytes(4)], places


def _filled(template: list[bytes], number: int, kind: Kind, frame: int = 0) -> list[bytes]:
    """Fill the template with a slice's own values; the long parts are shared by all slices."""
    return [
        part if place % 2 == 0 else _value(_NAME_OF[part], number * kind.frames + frame, kind)
        for place, part in enumerate(template)
    ]


def _value(name: str, position: int, kind: Kind) -> bytes:
    """Return the value of a token in the slice at a position."""
    width = len(_TOKENS[name])
    z = f"{300.0 - 0.625 * position:.3f}"
    seconds = 36000 + 0.3 * position
    clock = f"{int(seconds // 3600) % 24:02}{int(seconds // 60) % 60:02}{seconds % 60:09.6f}"
    counts = {
        "instance": kind.objects * kind.frames - position,
        "current": 100 + position * 37 % 400,
        "frame": position % kind.frames + 1,
    }
    texts = {"z": z, "location": z, "acquired": clock, "content": clock}
    texts["uid"] = f"2.25.{77 * 10**36 + position // kind.frames * 7919}"
    text = texts[name].rjust(width) if name in texts else str(counts[name]).zfill(width)
    return text[:width].encode()


def _template(kind: Kind) -> list[bytes]:
    """Build a header up to its pixels, cut at the tokens: every second part is one."""
    dataset = axial(Plan(1, 0), 0, np.zeros((kind.side, kind.side), np.float32))
    del dataset.PixelData
    dataset.file_meta.TransferSyntaxUID = kind.transfer_syntax_uid
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = _TOKENS["uid"]
    dataset.InstanceNumber, dataset.XRayTubeCurrent = _TOKENS["instance"], _TOKENS["current"]
    dataset.WindowWidth, dataset.WindowCenter = WINDOW
    del dataset.WindowCenterWidthExplanation
    _describe_equipment(dataset)
    if kind.frames == 1:
        dataset.ImagePositionPatient = ["-220", "-220", _TOKENS["z"]]
        dataset.SliceLocation = _TOKENS["location"]
        dataset.AcquisitionTime, dataset.ContentTime = _TOKENS["acquired"], _TOKENS["content"]
    else:
        _make_enhanced(dataset, kind)
    if kind.private_bytes:
        _add_private(dataset, kind.private_bytes)
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return _cut(stream.getvalue())


def _cut(template: bytes) -> list[bytes]:
    return re.split(b"(" + b"|".join(map(re.escape, _NAME_OF)) + b")", template)


def _describe_equipment(dataset: Dataset) -> None:
    """Add what scanners also write: a header then has about 2 KB, as in public archives."""
    dataset.update(_EQUIPMENT)
    referenced = Dataset()
    referenced.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    referenced.ReferencedSOPInstanceUID = dataset.StudyInstanceUID
    dataset.ReferencedStudySequence = Sequence([referenced])
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "T-D4000", "SRT", "Abdomen"
    dataset.ProcedureCodeSequence = Sequence([code])


def _add_private(dataset: Dataset, length: int) -> None:
    """Add a vendor's two dumps: a short one that differs from slice to slice, and the series' long one."""
    block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    noise = np.random.default_rng(7).integers(32, 127, length, np.uint8).tobytes()
    short = length // 10
    block.add_new(0x08, "CS", "IMAGE NUM 4")
    block.add_new(0x10, "OB", noise[: short // 2] + _TOKENS["location"].encode() + noise[short // 2 : short])
    block.add_new(0x20, "OB", noise[short : short + (length - short) // 2 * 2])


def _make_enhanced(dataset: Dataset, kind: Kind) -> None:
    """Add an enhanced object's root and shared groups; its frames' own come last."""
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    dataset.NumberOfFrames = kind.frames
    measures, orientation, values, window, shared = (Dataset() for _ in range(5))
    measures.PixelSpacing, measures.SliceThickness = dataset.PixelSpacing, 0.625
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    values.RescaleSlope, values.RescaleIntercept = RESCALE
    window.WindowWidth, window.WindowCenter = WINDOW
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelValueTransformationSequence = Sequence([values])
    shared.FrameVOILUTSequence = Sequence([window])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    for keyword in (
        *("PixelSpacing", "SliceThickness", "ImagePositionPatient", "ImageOrientationPatient"),
        *("SliceLocation", "RescaleSlope", "RescaleIntercept", "WindowWidth", "WindowCenter"),
    ):
        delattr(dataset, keyword)


def _per_frame(number: int, kind: Kind) -> bytes:
    """Build PerFrameFunctionalGroupsSequence: each frame's position and place in the stack."""
    content, plane, groups, root = (Dataset() for _ in range(4))
    content.FrameAcquisitionDateTime = content.FrameReferenceDateTime = f"20250101{_TOKENS['acquired']}"
    content.FrameAcquisitionDuration, content.FrameComments = 500.0, _TOKENS["frame"]
    content.StackID, content.TemporalPositionIndex = "1", 1
    plane.ImagePositionPatient = ["-220", "-220", _TOKENS["z"]]
    groups.FrameContentSequence, groups.PlanePositionSequence = Sequence([content]), Sequence([plane])
    root.PerFrameFunctionalGroupsSequence = Sequence([groups])
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, root)
    element = stream.getvalue()
    # Tag, VR and length come before the items.
    template = _cut(element[12:])
    items = b"".join(part for frame in range(kind.frames) for part in _filled(template, number, kind, frame))
    return element[:8] + len(items).to_bytes(4, "little") + items


_EQUIPMENT = Dataset()
for _keyword, _told in {
    "InstitutionName": "Institution of an Archive",
    "StationName": "CT99102",
    "ProtocolName": "6.1 Chest Abdomen Pelvis with contrast",
    "ScanOptions": "HELICAL MODE",
    "DataCollectionDiameter": "500.000000",
    "DistanceSourceToDetector": "949.075012",
    "DistanceSourceToPatient": "541.000000",
    "TableHeight": "153.500000",
    "RotationDirection": "CW",
    "ExposureTime": "500",
    "Exposure": "4",
    "FilterType": "BODY FILTER",
    "GeneratorPower": "41600",
    "FocalSpots": "0.700000",
    "SingleCollimationWidth": 0.625,
    "TotalCollimationWidth": 40.0,
    "TableSpeed": 110.0,
    "TableFeedPerRotation": 55.0,
    "SpiralPitchFactor": 1.375,
    "CTDIvol": 9.25,
    "PatientAge": "060Y",
    "PatientWeight": "75.000000",
    "AdditionalPatientHistory": "",
    "SeriesDate": "20250101",
    "DeidentificationMethod": "Per DICOM PS 3.15 AnnexE. Details in 0012,0064",
    "ClinicalTrialProtocolID": "A-TRIAL",
    "ClinicalTrialSiteID": "",
    "LongitudinalTemporalInformationModified": "MODIFIED",
    "PerformedProcedureStepStartDate": "20250101",
    "PerformedProcedureStepStartTime": "120000",
    "RequestedProcedureDescription": "CT CHEST ABDOMEN PELVIS W CONTRAST",
    "LossyImageCompression": "00",
    "SmallestImagePixelValue": 0,
    "LargestImagePixelValue": 4095,
}.items():
    setattr(_EQUIPMENT, _keyword, _told)
