"""What is fuzzed: objects and codestreams to change, and what must hold whatever the changes."""

import sys
import tracemalloc
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from pydicom.uid import JPEG2000TransferSyntaxes

import make_dicom as make
from codestreams import described, j2k, jpeg, run_lengths
from dicom_series_preview.archive.index.build import build
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.index.records import Record
from dicom_series_preview.archive.siemens import untiled
from dicom_series_preview.base.errors import DecodeError, ObjectError
from dicom_series_preview.base.image import PixelDescription
from dicom_series_preview.pixels.codecs.colour import is_colour, to_rgb
from dicom_series_preview.pixels.codecs.frame import decode_frame
from dicom_series_preview.sources.headers.convert import Converter
from dicom_series_preview.sources.headers.dicom_json import to_json
from dicom_series_preview.sources.headers.header import Header, parse
from dicom_series_preview.sources.headers.scan import Incomplete, data_set_of
from indexing import PROVENANCE, header_of

ROOT = "1.2.840.10008.1.2"
# A number takes 2 bytes of text at least and becomes 40 of a float in a tuple; what is nested in sequences is
# copied once a level.
HEADER_BYTES_A_BYTE, HEADER_BYTES = 100, 4 * 2**20
# A walk takes a step for each element of 8 bytes, and again for each level it is nested in.
CALLS_A_BYTE, CALLS = 40, 50_000
DECODED_BYTES = 8 * 2**20


PLAIN = make.encode(make.image(2))


class TooManyStepsError(AssertionError):
    """A parser has taken more steps than its input justifies."""


# --- headers


def headers() -> dict[str, bytes]:
    """Objects of every encoding of a data set, with sequences, private elements and several frames."""
    inner = make.dataset(CodeValue="1", PurposeOfReferenceCodeSequence=[make.dataset(CodeMeaning="inner")])
    source = make.image(
        WindowCenter=[40.0, 300.0],
        WindowWidth=[400.0, 1500.0],
        PatientName="Müller^Jörg",
        SpecificCharacterSet="ISO_IR 100",
        ReferencedImageSequence=[inner, make.dataset()],
    )
    private = source.private_block(0x0029, "FUZZ", create=True)
    private.add_new(0x10, "OB", bytes(range(256)))
    private.add_new(0x11, "FD", [1.5, float("nan")])
    groups = [make.position_group(0, 0, z) for z in range(3)]
    enhanced = make.enhanced(groups, make.orientation_group())
    frames = make.encapsulate([[b"one1"], [b"two2", b"2222"], [b"three3"]], None)
    return {
        **{f"native {uid}": make.encode(source, uid) for uid in (*make.NATIVE, make.DEFLATED)},
        "undefined lengths": make.encode(make.undefined_lengths(source)),
        "enhanced": make.encode(enhanced),
        "encapsulated": make.encode(make.image(NumberOfFrames=3, PixelData=frames), make.JPEG),
        "bare": make.without_meta(make.encode(source, make.IMPLICIT)),
    }


def real_headers(folder: Path) -> dict[str, bytes]:
    """The beginnings of real objects, one of each kind and series."""
    paths = [
        path
        for part in ("single", "malformed")
        for path in sorted((folder / part).rglob("*"))
        if path.is_file()
    ]
    paths += [next(iter(sorted(series.iterdir()))) for series in sorted((folder / "series").iterdir())]
    return {path.relative_to(folder).as_posix(): path.read_bytes()[: 64 * 2**10] for path in paths}


def check_header(data: bytes, first: int) -> None:
    """Read a header as an index does: by first bytes, then more of them.

    Only an ObjectError may come out; each answer that asks for more must ask for more than there is, and for
    no more than the object has; steps and memory are bounded by the input.
    """
    limit = HEADER_BYTES + HEADER_BYTES_A_BYTE * len(data)
    tracemalloc.start()
    try:
        _counted(lambda: _parse_by_steps(data, first), CALLS + CALLS_A_BYTE * len(data))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= limit, f"{peak:,} bytes for an object of {len(data):,}"
    _index(data)


def check_after(data: bytes, learned: Converter) -> None:
    """Read a header behind others of its series: it is what it is alone, whatever those were like."""
    for end, size in ((len(data), len(data)), (len(data) // 2, len(data)), (len(data) // 2, len(data) // 2)):
        alone, behind = (_outcome(data[:end], size, each) for each in (Converter(), learned))
        # As text, in which a number that is none is equal to itself.
        assert repr(alone) == repr(behind)
        if isinstance(alone, Header) and isinstance(behind, Header):
            assert repr(to_json(alone.elements)) == repr(to_json(behind.elements))


def _outcome(data: bytes, size: int, converter: Converter) -> Header | Incomplete | ObjectError:
    try:
        return parse(data, size, converter)
    except ObjectError as error:
        return error


def _index(data: bytes) -> None:
    """What can be read can be indexed, beside another object: one odd object must not lose a series."""
    try:
        records = [Record.of("odd", "1", header_of(data)), Record.of("plain", "1", header_of(PLAIN))]
    except ObjectError:
        return
    index = Index.from_parquet(Index(build(records, PROVENANCE)).to_parquet())
    rows = [int(row) for members in index.stacks.values() for row in members]
    slices = index.slices(rows)
    assert len(slices) == len(rows)
    for item in slices:
        index.parts(item)
    untiled(index)
    assert {record.name for record in index.records()} == {"odd", "plain"}


def _parse_by_steps(data: bytes, first: int) -> None:
    have, steps = min(first, len(data)), 0
    try:
        while True:
            parsed = parse(data[:have], len(data), Converter())
            if not isinstance(parsed, Incomplete):
                break
            assert have < parsed.at_least <= len(data)
            have, steps = max(parsed.at_least, min(2 * have, len(data))), steps + 1
            assert steps <= 64, "asks for more again and again"
        _use_header(parsed, data)
    except ObjectError as error:
        check_is_one_line(error)


def _use_header(parsed: Header, data: bytes) -> None:
    assert parsed.number_of_frames >= 0
    assert len(parsed.locations) in (0, parsed.number_of_frames)
    assert all(location.offset >= 0 and location.length >= 0 for location in parsed.locations)
    if parsed.pixels is not None and parsed.transfer_syntax_uid == make.DEFLATED:
        assert len(data_set_of(data, parsed.pixels.offset, parsed.pixels.offset + 4096)) <= 4096


def _counted(work: Any, limit: int) -> None:
    """Run something, and stop it after so many calls: what hangs is named instead."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")
        if calls > limit:
            raise TooManyStepsError(f"more than {limit:,} calls")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)


def check_is_one_line(error: ObjectError) -> None:
    """A reason is one line, for the report."""
    assert error.reason
    assert "\n" not in error.reason


# --- codestreams


@dataclass(frozen=True, slots=True)
class Codestream:
    """A frame to change.

    Attributes:
        data: Its bytes.
        pixels: What its header says.
    """

    data: bytes
    pixels: PixelDescription


def codestreams() -> dict[str, Codestream]:
    """A frame of every codec, in grey and in colour where it has both."""
    y, x = np.mgrid[:40, :48]
    grey = ((np.sin(x / 5) + np.cos(y / 7)) * 900 + 2048).astype(np.uint16)
    byte = (grey // 16).astype(np.uint8)
    rgb = np.stack([byte, byte[::-1], 255 - byte], axis=-1)
    signed = (grey.astype(np.int16) - 2048).astype(np.int16)
    deflate = zlib.compressobj(wbits=-15)
    made: dict[str, tuple[str, bytes, np.ndarray[Any, Any], int]] = {
        "native": (f"{ROOT}.1", grey.tobytes(), grey, 12),
        "native big endian": (f"{ROOT}.2", grey.byteswap().tobytes(), grey, 12),
        "native rgb": (f"{ROOT}.1", rgb.tobytes(), rgb, 8),
        "deflated frame": (f"{ROOT}.8.1", deflate.compress(grey.tobytes()) + deflate.flush(), grey, 12),
        "rle": (f"{ROOT}.5", run_lengths(grey), grey, 12),
        "rle rgb": (f"{ROOT}.5", run_lengths(rgb), rgb, 8),
        "jpeg": (f"{ROOT}.4.50", jpeg(byte, 90), byte, 8),
        "jpeg rgb": (f"{ROOT}.4.50", jpeg(rgb, 90), rgb, 8),
        "jpeg progressive": (f"{ROOT}.4.55", jpeg(rgb, 90, progressive=True), rgb, 8),
        "jpeg 12 bits": (
            f"{ROOT}.4.51",
            imagecodecs.jpeg8_encode(grey, level=90, bitspersample=12),
            grey,
            12,
        ),
        "jpeg lossless": (f"{ROOT}.4.70", imagecodecs.ljpeg_encode(grey, bitspersample=12), grey, 12),
        "jpeg-ls": (f"{ROOT}.4.80", imagecodecs.jpegls_encode(grey), grey, 12),
        "jpeg-ls rgb": (f"{ROOT}.4.80", imagecodecs.jpegls_encode(rgb), rgb, 8),
        "jpeg 2000": (f"{ROOT}.4.90", j2k(grey, 12), grey, 12),
        "jpeg 2000 signed": (f"{ROOT}.4.91", j2k(signed, 12), signed, 12),
        "jpeg 2000 rgb": (f"{ROOT}.4.90", j2k(rgb, 8, 1), rgb, 8),
        "htj2k": (f"{ROOT}.4.201", imagecodecs.htj2k_encode(grey, reversible=True), grey, 16),
        "jpeg xl": (
            f"{ROOT}.4.110",
            imagecodecs.jpegxl_encode(grey, lossless=True, bitspersample=12),
            grey,
            12,
        ),
        "jpeg xl rgb": (f"{ROOT}.4.112", imagecodecs.jpegxl_encode(rgb, distance=1.0), rgb, 8),
    }
    return {
        name: Codestream(bytes(data), described(samples, uid, bits))
        for name, (uid, data, samples, bits) in made.items()
    }


def check_codestream(codestream: Codestream, data: bytes, reduction: int) -> None:
    """Decode changed bytes: only a DecodeError may come out, or samples as they are described."""
    pixels = codestream.pixels
    tracemalloc.start()
    try:
        decoded = decode_frame(data, pixels, reduction=reduction)
        side = decoded.reduction
        shape = (-(-pixels.rows // side), -(-pixels.columns // side))
        assert decoded.samples.shape[:2] == shape
        assert decoded.samples.shape[2:] == ((3,) if pixels.samples_per_pixel == 3 else ())
        assert decoded.samples.dtype.kind == ("i" if _is_signed(codestream, data) else "u")
        assert side in (1, reduction) or (side < reduction and side in (2, 4))
        if is_colour(pixels):
            assert to_rgb(decoded, pixels).shape == (*shape, 3)
    except DecodeError as error:
        check_is_one_line(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak <= DECODED_BYTES, f"{peak:,} bytes for a frame of {pixels.rows} x {pixels.columns}"


def _is_signed(codestream: Codestream, data: bytes) -> bool:
    """Whether samples are signed: as the header says, save grey JPEG 2000 that says of itself that it is."""
    pixels = codestream.pixels
    # Ssiz of the first component, in SIZ.
    sign = data[data.find(b"\xff\x51") + 40 :][:1] if b"\xff\x51" in data else b""
    is_jpeg_2000 = pixels.transfer_syntax_uid in JPEG2000TransferSyntaxes
    says_so = is_jpeg_2000 and pixels.is_monochrome and sign >= b"\x80"
    return bool(pixels.pixel_representation) or says_so


def check_description(codestream: Codestream, **changes: Any) -> None:
    """The same bytes under another description: refused, or as described."""
    check_codestream(replace(codestream, pixels=replace(codestream.pixels, **changes)), codestream.data, 1)
