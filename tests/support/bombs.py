"""Small frames and objects that ask for far more memory or time than they are worth.

As a program, decodes each within an address space of 1.5 GiB and prints, a JSON line each, what came of it.
"""

import io
import json
import mmap
import resource
import struct
import sys
import zlib
from dataclasses import dataclass, replace
from functools import cache

import imagecodecs
import numpy as np
import openjpeg.utils
from PIL import Image

import make_dicom as make
from dicom_series_preview.base.errors import DecodeError
from dicom_series_preview.base.image import PixelDescription
from dicom_series_preview.pixels.codecs.frame import decode_frame
from dicom_series_preview.pixels.codecs.registry import codecs

ROOT = "1.2.840.10008.1.2"
SIDE = 64
HUGE = 65535
ADDRESS_SPACE = 1536 * 2**20


@dataclass(frozen=True)
class Bomb:
    """A frame.

    Attributes:
        data: Its bytes.
        pixels: What the object's header says.
    """

    data: bytes | memoryview
    pixels: PixelDescription


def described(
    uid: str, rows: int = SIDE, columns: int = SIDE, bits: int = 8, samples: int = 1
) -> PixelDescription:
    """A header's word on pixels."""
    return PixelDescription(
        uid,
        rows,
        columns,
        samples,
        "MONOCHROME2" if samples == 1 else "RGB",
        bits_allocated=8 if bits == 8 else 16,
        bits_stored=bits,
        high_bit=bits - 1,
    )


# --- JPEG and JPEG-LS: the frame header's dimensions are changed


def with_sides(codestream: bytes, marker: int, rows: int, columns: int) -> bytes:
    """A JPEG or JPEG-LS codestream that says it is of another size."""
    at = codestream.index(bytes((0xFF, marker))) + 5
    return codestream[:at] + struct.pack(">HH", rows, columns) + codestream[at + 4 :]


def jpeg(side: int = SIDE, **options: object) -> bytes:
    """A black 8-bit JPEG."""
    stream = io.BytesIO()
    Image.fromarray(np.zeros((side, side), np.uint8)).save(stream, "JPEG", **options)
    return stream.getvalue()


def with_scans(codestream: bytes, count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    last = codestream.rindex(b"\xff\xda")
    return codestream[:-2] + codestream[last:-2] * count + codestream[-2:]


# --- JPEG 2000: written marker by marker


def jpeg2000(
    rows: int,
    columns: int,
    *,
    components: int = 1,
    tile: int | None = None,
    precinct: int | None = None,
    layers: int = 1,
    block: int = 4,
    ht: bool = False,
) -> bytes:
    """A codestream of empty packets.

    Args:
        rows: Rows.
        columns: Columns.
        components: Components.
        tile: A tile's side; the image's by default.
        precinct: The exponent of a precinct's side; the largest by default.
        layers: Layers.
        block: The exponent of a code-block's side, less 2.
        ht: High throughput.
    """
    sides = (tile or columns, tile or rows)
    size = struct.pack(">H8I", 0x4000 if ht else 0, columns, rows, 0, 0, *sides, 0, 0)
    size += struct.pack(">H", components) + bytes((7, 1, 1)) * components
    levels = 5
    style = bytes((precinct is not None, 2)) + struct.pack(">H", layers)
    style += bytes((0, levels, block, block, 0x40 if ht else 0, 1))
    if precinct is not None:
        style += bytes((precinct * 0x11,)) * (levels + 1)
    quantisation = bytes((0x40, *[0x40] * (3 * levels + 1)))
    segments = {
        0x51: size,
        **({0x50: b"\x00\x02\x00\x00\x00\x00"} if ht else {}),
        0x52: style,
        0x5C: quantisation,
    }
    head = b"".join(_segment(marker, body) for marker, body in segments.items())
    packets = bytes(100_000)
    part = _segment(0x90, struct.pack(">HIBB", 0, 14 + len(packets), 0, 1))
    return b"\xff\x4f" + head + part + b"\xff\x93" + packets + b"\xff\xd9"


def with_size(codestream: bytes, rows: int, columns: int) -> bytes:
    """A codestream that says it is of another size, in one tile."""
    at = codestream.index(b"\xff\x51") + 6
    sides = struct.pack(">2I", columns, rows)
    return codestream[:at] + sides + codestream[at + 8 : at + 16] + sides + codestream[at + 24 :]


def with_empty_tile_parts(codestream: bytes, count: int) -> bytes:
    """A codestream with many more tile-parts that hold nothing."""
    parts = b"".join(
        _segment(0x90, struct.pack(">HIBB", 0, 14, number % 255, 0)) + b"\xff\x93"
        for number in range(1, count)
    )
    return codestream[:-2] + parts + codestream[-2:]


def late_precincts(rows: int, columns: int) -> bytes:
    """A codestream whose tile header asks for tiny precincts, and whose main header does not."""
    plain, cut = jpeg2000(rows, columns), jpeg2000(rows, columns, precinct=1)
    style = cut[cut.index(b"\xff\x52") : cut.index(b"\xff\x5c")]
    at = plain.index(b"\xff\x93")
    return plain[:at] + style + plain[at:]


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


# --- JPEG XL, RLE, deflate


def jpegxl_of(rows: int, columns: int, extra_channels: int = 0) -> bytes:
    """A JPEG XL codestream's beginning (ISO/IEC 18181-1 D.2, D.3), and rubbish.

    Behind the size: of the metadata not all are defaults, there are no extra fields, 8 bits, 16-bit buffers,
    and up to 4096 extra channels, all defaults (alpha).
    """
    bits = 3 << 1 | (rows - 1) << 3 | 3 << 36 | (columns - 1) << 38
    if extra_channels:
        bits |= 1 << 73 | 3 << 74 | (extra_channels - 1) << 76 | ((1 << extra_channels) - 1) << 88
    return b"\xff\x0a" + bits.to_bytes(10 + 16 + extra_channels // 8, "little") + bytes(200)


def rle(segments: int, segment: bytes) -> bytes:
    """An RLE frame of the same segment some times."""
    offsets = [64 + i * len(segment) for i in range(segments)]
    return struct.pack("<16I", segments, *offsets, *[0] * (15 - segments)) + segment * segments


@cache
def deflated_zeros(size: int) -> bytes:
    """Zeros in a raw deflate stream, a thousandth as long."""
    part, end = zlib.compressobj(9, wbits=-15), zlib.compressobj(9, wbits=-15)
    zeros = 2**20
    # Each part ends at a byte, and looks back at nothing: it can be repeated.
    once = part.compress(bytes(zeros)) + part.flush(zlib.Z_FULL_FLUSH)
    return once * (size // zeros) + end.compress(b"") + end.flush()


def deflated_object(pixel_bytes: int, private_bytes: int = 0) -> bytes:
    """A deflated instance whose data set inflates to gigabytes."""
    plain = make.image(1, Rows=SIDE, Columns=SIDE, PixelData=None)
    encoded = make.without_meta(make.encode(plain))
    if private_bytes:
        encoded += make.element(0x00290010, "LO", b"BOMBS ") + make.element(
            0x00291000, "OB", b"", private_bytes
        )
    else:
        encoded += make.element(0x7FE00010, "OW", b"", pixel_bytes)
    head = zlib.compressobj(wbits=-15)
    start = head.compress(encoded) + head.flush(zlib.Z_FULL_FLUSH)
    return make.preamble(make.DEFLATED) + start + deflated_zeros(private_bytes or pixel_bytes)


# --- all of them


@cache
def small_headers() -> dict[str, Bomb]:
    """Frames of 64 x 64 pixels, if one believes the header."""
    grey, deep = np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint16)
    made: dict[str, tuple[str, bytes, int]] = {
        "jpeg baseline": ("4.50", with_sides(jpeg(), 0xC0, HUGE, HUGE), 8),
        "jpeg progressive": ("4.55", with_sides(jpeg(progressive=True), 0xC2, HUGE, HUGE), 8),
        "jpeg extended": (
            "4.51",
            with_sides(imagecodecs.jpeg8_encode(deep, level=90, bitspersample=12), 0xC1, HUGE, HUGE),
            12,
        ),
        "jpeg lossless": ("4.57", with_sides(imagecodecs.ljpeg_encode(grey), 0xC3, HUGE, HUGE), 8),
        "jpeg lossless sv1": ("4.70", with_sides(imagecodecs.ljpeg_encode(grey), 0xC3, HUGE, HUGE), 8),
        "jpeg scans": ("4.55", with_scans(jpeg(progressive=True), 100_000), 8),
        "jpeg-ls": ("4.80", with_sides(imagecodecs.jpegls_encode(grey), 0xF7, HUGE, HUGE), 8),
        "jpeg-ls near": ("4.81", with_sides(imagecodecs.jpegls_encode(grey, level=2), 0xF7, HUGE, HUGE), 8),
        "jpeg 2000": ("4.90", with_size(_plain2000(), 2**32 - 1, 2**32 - 1), 8),
        "jpeg 2000 lossy": ("4.91", with_size(_plain2000(), HUGE, HUGE), 8),
        "jpeg 2000 components": ("4.90", jpeg2000(SIDE, SIDE, components=16384), 8),
        "jpeg 2000 layers": ("4.90", jpeg2000(SIDE, SIDE, layers=65535, precinct=1), 8),
        "htj2k": ("4.201", with_size(jpeg2000(SIDE, SIDE, ht=True), HUGE, HUGE), 8),
        "htj2k rpcl": ("4.202", with_size(jpeg2000(SIDE, SIDE, ht=True), HUGE, HUGE), 8),
        "htj2k lossy": ("4.203", with_size(jpeg2000(SIDE, SIDE, ht=True), HUGE, HUGE), 8),
        "jpeg xl channels": ("4.110", jpegxl_of(SIDE, SIDE, 4096), 8),
        "jpeg xl lossless": ("4.110", jpegxl_of(HUGE, HUGE), 8),
        "jpeg xl recompressed": ("4.111", jpegxl_of(2**30, 2**30), 8),
        "jpeg xl": ("4.112", jpegxl_of(HUGE, HUGE), 8),
        "rle": ("5", rle(1, bytes((129, 0)) * 16_000_000), 8),
        "encapsulated native": ("1.98", bytes(100), 8),
    }
    return {
        name: Bomb(data, described(f"{ROOT}.{uid}", bits=bits)) for name, (uid, data, bits) in made.items()
    }


@cache
def large_headers() -> dict[str, Bomb]:
    """Frames that are what their headers say: huge, or cut into pieces beyond all measure."""
    bombs = {}
    for name, bomb in small_headers().items():
        huge = replace(bomb.pixels, rows=HUGE, columns=HUGE)
        bombs[f"{name}, header too"] = Bomb(bomb.data, huge)
    side, j2k, uid = 4096, jpeg2000, f"{ROOT}.4.90"
    frames = {
        "tiles": j2k(side, side, tile=17),
        "tiny precincts": j2k(side, side, precinct=1),
        "late precincts": late_precincts(side, side),
        "small blocks": j2k(side, side, block=0),
        "many layers": j2k(side, side, layers=65535, precinct=6),
        "tiny precincts, high throughput": j2k(side, side, precinct=1, ht=True),
    }
    bombs |= {f"jpeg 2000 {name}": Bomb(data, described(uid, side, side)) for name, data in frames.items()}
    many = jpeg2000(side, side, components=3, tile=17)
    bombs["jpeg 2000 tiles, rgb"] = Bomb(many, described(uid, side, side, samples=3))
    scans = with_scans(jpeg(side, progressive=True), 5000)
    bombs["jpeg scans, large"] = Bomb(scans, described(f"{ROOT}.4.55", side, side))
    return bombs


@cache
def near_limit() -> dict[str, Bomb]:
    """Frames just as large as the limit allows, of next to no bytes: more than the address space holds."""
    side = 32767
    grey = np.zeros((SIDE, SIDE), np.uint8)
    made = {
        "native": (".1", bytes(1000)),
        "encapsulated native": (".1.98", bytes(1000)),
        "deflated frame": (".8.1", deflated_zeros(2**20)),
        "rle": (".5", rle(1, bytes((129, 0)) * 1000)),
        "jpeg baseline": (".4.50", with_sides(jpeg(), 0xC0, side, side)),
        "jpeg progressive": (".4.55", with_sides(jpeg(progressive=True), 0xC2, side, side)),
        "jpeg lossless": (".4.70", with_sides(imagecodecs.ljpeg_encode(grey), 0xC3, side, side)),
        "jpeg-ls": (".4.80", with_sides(imagecodecs.jpegls_encode(grey), 0xF7, side, side)),
        "jpeg 2000": (".4.90", with_size(_plain2000(), side, side)),
        "htj2k": (".4.201", jpeg2000(side, side, ht=True)),
        "jpeg xl": (".4.110", jpegxl_of(side, side)),
    }
    bombs = {
        f"{name}, near the limit": Bomb(data, described(ROOT + uid, side, side))
        for name, (uid, data) in made.items()
    }
    # All of it is there, without being in memory: what does not fit is the decoded frame.
    deep = described(f"{ROOT}.2", side, side // 2, bits=16)
    return {**bombs, "native, whole": Bomb(memoryview(mmap.mmap(-1, side * side)), deep)}


def harmless() -> dict[str, Bomb]:
    """What looks odd, and is a picture."""
    plain = _plain2000()
    return {
        "jpeg 2000 tile-parts": Bomb(with_empty_tile_parts(plain, 200), described(f"{ROOT}.4.90")),
        "jpeg 2000 some tiles": Bomb(jpeg2000(1024, 1024, tile=128), described(f"{ROOT}.4.90", 1024, 1024)),
        "jpeg progressive, harmless": Bomb(jpeg(progressive=True), described(f"{ROOT}.4.55")),
    }


def _plain2000() -> bytes:
    return bytes(
        openjpeg.utils.encode_array(
            np.zeros((SIDE, SIDE), np.uint8), bits_stored=8, photometric_interpretation=2
        )
    )


def main() -> None:
    """Decode all within a small address space."""
    bombs = {**small_headers(), **large_headers(), **near_limit(), **harmless()}
    codecs()  # imports every decoder
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    for name, bomb in bombs.items():
        before = _peak_bytes()
        outcomes = []
        for reduction in (1, 4):
            try:
                outcomes.append(str(decode_frame(bomb.data, bomb.pixels, reduction=reduction).samples.shape))
            except DecodeError as error:
                outcomes.append(error.reason)
        line = {"name": name, "outcomes": outcomes, "grown": _peak_bytes() - before}
        print(json.dumps(line), flush=True)  # noqa: T201 - for the test that started this


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
