import io
import struct
import subprocess
import sys
from dataclasses import replace

import imagecodecs
import numpy as np
import openjpeg.utils
import pytest
from PIL import Image

from codestreams import j2k, jpeg, run_lengths
from dicom_series_preview.base.errors import DecodeError, UnsupportedTransferSyntaxError
from dicom_series_preview.base.image import PixelDescription
from dicom_series_preview.pixels.codecs.colour import to_rgb
from dicom_series_preview.pixels.codecs.frame import decode_frame
from dicom_series_preview.pixels.codecs.jpegxl import read_jpegxl_header
from dicom_series_preview.pixels.codecs.registry import codecs

ROOT = "1.2.840.10008.1.2"
RLE = f"{ROOT}.5"
BASELINE, EXTENDED, LOSSLESS = f"{ROOT}.4.50", f"{ROOT}.4.51", f"{ROOT}.4.70"
JPEG_LS = f"{ROOT}.4.80"
J2K_LOSSLESS, J2K, HTJ2K = f"{ROOT}.4.90", f"{ROOT}.4.91", f"{ROOT}.4.201"

RAMP = (np.arange(64 * 48, dtype=np.uint16).reshape(64, 48) * 21) % 4096
COLOUR = np.stack([np.arange(64 * 48).reshape(64, 48) // d % 256 for d in (3, 5, 7)], axis=-1).astype(
    np.uint8
)


def _grey(uid: str, stored: int = 12, representation: int = 0, allocated: int = 16) -> PixelDescription:
    return PixelDescription(
        uid,
        64,
        48,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=stored - 1,
        pixel_representation=representation,
    )


def _colour(uid: str, photometric: str = "RGB") -> PixelDescription:
    return PixelDescription(uid, 64, 48, 3, photometric, bits_allocated=8, bits_stored=8, high_bit=7)


def _encoded(uid: str) -> bytes:
    """RAMP's samples as a frame of one transfer syntax."""
    return {
        RLE: lambda: run_lengths(RAMP),
        LOSSLESS: lambda: imagecodecs.ljpeg_encode(RAMP, bitspersample=12),
        EXTENDED: lambda: imagecodecs.jpeg8_encode(RAMP, level=95, bitspersample=12),
        JPEG_LS: lambda: imagecodecs.jpegls_encode(RAMP),
        J2K_LOSSLESS: lambda: j2k(RAMP, 12),
    }[uid]()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", range(1, 17))
def test_grey_jpeg2000_is_what_another_decoder_gives(bits, signed):
    """Grey samples of any precision and sign, lossless and lossy, are those of pylibjpeg-openjpeg."""
    lowest = -(1 << bits - 1) if signed else 0
    words = np.random.default_rng(bits).integers(lowest, lowest + (1 << bits), (64, 48))
    dtype = np.dtype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")
    pixels = _grey(J2K_LOSSLESS, bits, int(signed), 8 * dtype.itemsize)
    for options in ({}, {"compression_ratios": [4]}):
        codestream = j2k(words.astype(dtype), bits, **options)
        expected = np.frombuffer(openjpeg.utils.decode_pixel_data(codestream, version=2), dtype)
        found = decode_frame(codestream, pixels).samples
        np.testing.assert_array_equal(found, expected.reshape(64, 48))
    assert found.dtype == dtype


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def test_the_palette_of_a_jp2_file_is_left_out():
    """Of a JP2 file, which no frame may be, the codestream alone counts: samples stay indices."""
    indices = (np.arange(64 * 48).reshape(64, 48) % 4).astype(np.uint8)
    palette = _box(b"pclr", struct.pack(">HB", 4, 3) + bytes((7, 7, 7)) + bytes(range(12)))
    mapping = _box(b"cmap", b"".join(struct.pack(">HBB", 0, 1, column) for column in range(3)))
    header = _box(b"ihdr", struct.pack(">IIHBBBB", 64, 48, 1, 7, 7, 0, 0))
    colours = _box(b"colr", struct.pack(">BBBI", 1, 0, 0, 16))
    file = (
        _box(b"jP  ", b"\r\n\x87\n")
        + _box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
        + _box(b"jp2h", header + colours + palette + mapping)
        + _box(b"jp2c", j2k(indices, 8))
    )
    np.testing.assert_array_equal(decode_frame(file, _grey(J2K_LOSSLESS, 8, allocated=8)).samples, indices)


@pytest.mark.parametrize("uid", [RLE, LOSSLESS, JPEG_LS, J2K_LOSSLESS])
def test_lossless_codecs_give_back_what_was_encoded(uid):
    """A lossless frame decodes to the very samples, as bytes and as memoryview."""
    data = _encoded(uid)
    assert np.array_equal(decode_frame(data, _grey(uid)).samples, RAMP)
    assert np.array_equal(decode_frame(memoryview(data), _grey(uid)).samples, RAMP)


@pytest.mark.parametrize("uid", [RLE, LOSSLESS, EXTENDED, JPEG_LS, J2K_LOSSLESS])
def test_cut_off_codestreams_are_refused_in_one_line(uid):
    """A codestream that is cut off anywhere never becomes a picture."""
    data = _encoded(uid)
    for length in (0, 1, 3, 20, 64, len(data) // 2, len(data) - 40):
        with pytest.raises(DecodeError) as caught:
            decode_frame(data[:length], _grey(uid))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uid", [LOSSLESS, EXTENDED, JPEG_LS, J2K_LOSSLESS])
@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 63},
        {"columns": 96, "rows": 32},
        {"samples_per_pixel": 3, "photometric_interpretation": "RGB"},
    ],
)
def test_codestreams_of_another_size_are_refused(uid, changes):
    """A codestream that disagrees with Rows, Columns or SamplesPerPixel is refused, with both sizes."""
    with pytest.raises(
        DecodeError, match="the codestream is 64 x 48 with 1 samples a pixel, the header says"
    ):
        decode_frame(_encoded(uid), replace(_grey(uid), **changes))


@pytest.mark.parametrize("uid", [RLE, BASELINE, LOSSLESS, JPEG_LS, J2K, HTJ2K])
def test_rubbish_is_refused(uid):
    """Bytes that are no codestream are refused."""
    for rubbish in (b"", bytes(200), b"\xff" * 200, b"\xff\xd8\xff\xd9" * 50, b"\xff\x4f\xff\x51" * 50):
        with pytest.raises(DecodeError):
            decode_frame(rubbish, _grey(uid))


@pytest.mark.parametrize("allocated", [8, 16, 32])
@pytest.mark.parametrize("samples", [1, 3])
def test_rle_of_every_size(allocated, samples):
    """RLE planes, most significant byte first, join to words; segments may be longer than the frame."""
    shape = (64, 48) if samples == 1 else (64, 48, 3)
    values = np.random.default_rng(1).integers(0, 1 << allocated, shape).astype(f"u{allocated // 8}")
    data = run_lengths(values)
    pixels = replace(
        _grey(RLE, allocated, 0, allocated),
        samples_per_pixel=samples,
        photometric_interpretation="MONOCHROME2" if samples == 1 else "RGB",
    )
    assert np.array_equal(decode_frame(data, pixels).samples, values)
    assert np.array_equal(decode_frame(data + b"\x01\x00\x00", pixels).samples, values)


def test_rle_segments_are_counted_and_measured():
    """An RLE frame with too few, too short or misplaced segments is refused by name."""
    pixels = PixelDescription(RLE, 1, 4, bits_allocated=8, bits_stored=8, high_bit=7)
    header = struct.pack("<16L", 1, 64, *[0] * 14)
    assert decode_frame(header + b"\xfd\x07", pixels).samples.tolist() == [[7, 7, 7, 7]]
    with pytest.raises(DecodeError, match="4 bytes expected, 3 found"):
        decode_frame(header + b"\xfe\x07", pixels)
    with pytest.raises(DecodeError, match="has 1 segments, 2 are expected"):
        decode_frame(header + b"\xfd\x07", replace(pixels, bits_allocated=16))
    with pytest.raises(DecodeError, match="offsets are broken"):
        decode_frame(struct.pack("<16L", 1, 63, *[0] * 14) + b"\xfd\x07", pixels)
    with pytest.raises(DecodeError, match="RLE header is cut off"):
        decode_frame(header[:60], pixels)


@pytest.mark.parametrize("bits", [2, 7, 8, 9, 11, 12, 15, 16])
def test_jpeg_lossless_of_every_precision(bits):
    """JPEG Lossless is exact at any precision of 2 to 16 bits."""
    values = (RAMP.astype(int) % (1 << bits)).astype(np.uint8 if bits <= 8 else np.uint16)
    data = imagecodecs.ljpeg_encode(values, bitspersample=bits)
    decoded = decode_frame(data, _grey(LOSSLESS, bits, allocated=8 if bits <= 8 else 16))
    assert np.array_equal(decoded.samples, values)
    assert decoded.samples.dtype == values.dtype


def test_a_forgotten_end_of_image_is_forgiven():
    """A JPEG codestream that lacks its end marker, and nothing else, is decoded."""
    data = _encoded(EXTENDED)
    assert data.endswith(b"\xff\xd9")
    expected = decode_frame(data, _grey(EXTENDED)).samples
    assert np.array_equal(decode_frame(data[:-2], _grey(EXTENDED)).samples, expected)


def test_bytes_after_the_codestream_do_no_harm():
    """Padding or rubbish after the end of a codestream is passed over."""
    for uid in (LOSSLESS, EXTENDED, JPEG_LS, J2K_LOSSLESS):
        data = _encoded(uid)
        expected = decode_frame(data, _grey(uid)).samples
        assert np.array_equal(decode_frame(data + bytes(777), _grey(uid)).samples, expected)


def _with_component_ids(jpeg: bytes, ids: bytes) -> bytes:
    """Rename the three components, in the frame header and in the scan header."""
    data = bytearray(jpeg)
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    for i in range(3):
        data[frame + 10 + 3 * i] = data[scan + 5 + 2 * i] = ids[i]
    return bytes(data)


def _without_jfif(jpeg: bytes) -> bytes:
    assert jpeg[2:4] == b"\xff\xe0"
    return jpeg[:2] + jpeg[4 + int.from_bytes(jpeg[4:6], "big") :]


def _with_adobe(jpeg: bytes, transform: int) -> bytes:
    return jpeg[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform]) + jpeg[2:]


YCBCR = jpeg(COLOUR, subsampling=0)  # with a JFIF marker
SUBSAMPLED = jpeg(COLOUR, subsampling=2)


@pytest.mark.parametrize(
    ("codestream", "declared", "found"),
    [
        (YCBCR, "YBR_FULL", "YBR_FULL"),
        (YCBCR, "YBR_FULL_422", "YBR_FULL"),
        (YCBCR, "RGB", "YBR_FULL"),  # JFIF is YCbCr by definition
        (_without_jfif(YCBCR), "RGB", "RGB"),  # nothing contradicts the header
        (_without_jfif(YCBCR), "YBR_FULL", "YBR_FULL"),
        (_without_jfif(SUBSAMPLED), "RGB", "YBR_FULL"),  # red is never subsampled
        (_with_adobe(_without_jfif(YCBCR), 1), "RGB", "YBR_FULL"),
        (_with_adobe(_without_jfif(YCBCR), 0), "YBR_FULL_422", "RGB"),
        (_with_component_ids(_without_jfif(YCBCR), b"RGB"), "YBR_FULL", "RGB"),
    ],
)
def test_a_jpegs_own_markers_win_over_the_header(codestream, declared, found):
    """What a JPEG codestream says of its colours is trusted; where it is silent, the header is."""
    assert decode_frame(codestream, _colour(BASELINE, declared)).photometric_interpretation == found


def test_jpeg_that_says_rgb_but_holds_ycbcr_is_shown_right():
    """A JFIF codestream labelled RGB shows its own colours."""
    pixels = _colour(BASELINE, "RGB")
    rgb = to_rgb(decode_frame(YCBCR, pixels), pixels)
    expected = np.asarray(Image.open(io.BytesIO(YCBCR)).convert("RGB")).astype(int)
    assert np.abs(rgb - expected).max() <= 2


@pytest.mark.parametrize("declared", ["RGB", "YBR_RCT", "YBR_ICT", "YBR_FULL"])
def test_jpeg2000_with_a_component_transform_is_rgb(declared):
    """Where the codestream used RCT or ICT, the decoder gives RGB, whatever the header calls it."""
    decoded = decode_frame(j2k(COLOUR, 8, 1), _colour(J2K_LOSSLESS, declared))
    assert decoded.photometric_interpretation == "RGB"
    assert np.array_equal(decoded.samples, COLOUR)


def test_jpeg2000_without_a_component_transform_is_what_the_header_says():
    """Without a component transform in the codestream, YBR_FULL stays YBR_FULL."""
    decoded = decode_frame(j2k(COLOUR, 8, 3), _colour(J2K_LOSSLESS, "YBR_FULL"))
    assert decoded.photometric_interpretation == "YBR_FULL"
    assert np.array_equal(decoded.samples, COLOUR)


SIGNED = RAMP.astype(np.int16) - 2048


@pytest.mark.parametrize(
    ("samples", "precision", "stored", "representation", "expected"),
    [
        (SIGNED, 12, 12, 1, SIGNED),
        (SIGNED, 16, 12, 1, SIGNED),
        ((SIGNED & 0xFFF).astype(np.uint16), 12, 12, 1, SIGNED),  # encoded as unsigned by mistake
        (SIGNED.view(np.uint16), 16, 16, 1, SIGNED),
        (SIGNED, 12, 12, 0, SIGNED),  # the header is mistaken
        (SIGNED, 16, 16, 0, SIGNED),
        (SIGNED, 12, 16, 0, SIGNED),
        (SIGNED, 16, 12, 0, SIGNED),
        (RAMP, 12, 16, 1, RAMP.astype(np.int16)),  # fewer bits than BitsStored have no sign
    ],
)
def test_jpeg2000_sign_and_precision_may_disagree_with_the_header(
    samples, precision, stored, representation, expected
):
    """A signed codestream stays signed; one that knows no sign has the header's (PS3.5 8.2.4)."""
    decoded = decode_frame(j2k(samples, precision), _grey(J2K_LOSSLESS, stored, representation)).samples
    assert decoded.dtype == expected.dtype
    assert np.array_equal(decoded, expected)


SHOWN_AS_THEY_ARE = "its values are shown as the codestream has them"
CONTRADICTED_SIGN = f"its codestream has signed samples, and its header says unsigned: {SHOWN_AS_THEY_ARE}"
CONTRADICTED_BITS = f"its codestream has 16 bits a sample, and BitsStored is 12: {SHOWN_AS_THEY_ARE}"
CONTRADICTED_BOTH = (
    "its codestream has signed samples of 16 bits, and its header says unsigned ones of 12: "
    + SHOWN_AS_THEY_ARE
)


@pytest.mark.parametrize(
    ("lowest", "highest", "precision", "stored", "remarks"),
    [
        (-2048, 2047, 12, 12, (CONTRADICTED_SIGN,)),
        (-2048, 2047, 16, 12, (CONTRADICTED_SIGN,)),
        (-32768, 32767, 16, 16, (CONTRADICTED_SIGN,)),
        (-2049, 0, 16, 12, (CONTRADICTED_BOTH,)),
        (-1, 2048, 16, 12, (CONTRADICTED_BOTH,)),
        (0, 4096, 16, 12, (CONTRADICTED_BITS,)),
        (0, 4095, 16, 12, ()),  # either way they are what they are
    ],
)
def test_signed_samples_under_an_unsigned_header_are_told(lowest, highest, precision, stored, remarks):
    """Values that the header's sign or bits cannot hold are shown with a warning."""
    samples = np.resize(np.array([lowest, highest], np.int16), (64, 48))
    decoded = decode_frame(j2k(samples, precision), _grey(J2K_LOSSLESS, stored, 0))
    assert np.array_equal(decoded.samples, samples)
    assert decoded.remarks == remarks


@pytest.mark.parametrize(("overlay_bits", "expected"), [(0, RAMP | 0xF000), (0xF000, RAMP)])
def test_bits_beyond_bits_stored_are_values_unless_overlays_lie_there(overlay_bits, expected):
    """A codestream of more bits than BitsStored keeps them; those of a declared overlay are no value's."""
    pixels = replace(_grey(J2K_LOSSLESS, 12, 0), overlay_bits=overlay_bits)
    decoded = decode_frame(j2k(RAMP | 0xF000, 16), pixels)
    assert np.array_equal(decoded.samples, expected)
    assert bool(decoded.remarks) == (not overlay_bits)


def test_lossy_values_that_overshoot_do_not_wrap():
    """Lossy values beyond BitsStored are kept: masking would turn the brightest into the darkest."""
    samples = np.full((64, 48), 4100, np.uint16)
    assert decode_frame(j2k(samples, 16), _grey(J2K, 12)).samples.max() == 4100


def test_a_codestream_wider_than_bits_allocated_keeps_its_values():
    """A 12-bit codestream under a header of 8 bits is not cut to 8 bits."""
    decoded = decode_frame(j2k(RAMP, 12), _grey(J2K, 8, allocated=8)).samples
    assert np.array_equal(decoded, RAMP)


MIDDLE = np.full((64, 48), 2048, np.uint16)
JPEGS = {
    "baseline": (_grey(BASELINE, 8, allocated=8), jpeg(COLOUR[:, :, 0])),
    "colour": (_colour(BASELINE, "YBR_FULL"), jpeg(COLOUR, subsampling=0)),
    "subsampled": (_colour(BASELINE, "YBR_FULL_422"), jpeg(COLOUR, subsampling=2)),
    "restarts": (_colour(BASELINE, "YBR_FULL"), jpeg(COLOUR, subsampling=0, restart_marker_rows=1)),
    "progressive": (_colour(BASELINE, "YBR_FULL"), jpeg(COLOUR, progressive=True)),
    "extended": (_grey(EXTENDED), _encoded(EXTENDED)),
    "lossless": (_grey(LOSSLESS), _encoded(LOSSLESS)),
    **{
        f"predictor {n}": (_grey(LOSSLESS), imagecodecs.jpeg8_encode(RAMP, 100, lossless=True, predictor=n))
        for n in range(1, 8)
    },
}


@pytest.mark.parametrize("reduction", [1, 8])
@pytest.mark.parametrize("process", JPEGS)
def test_a_jpeg_that_is_cut_off_and_closed_again_is_refused(process, reduction):
    """An end marker does not hide that pixels are missing, at full size or reduced."""
    pixels, codestream = JPEGS[process]
    codestream = bytes(codestream)
    start = codestream.rindex(b"\xff\xda") + 20
    for share in (0.3, 0.5, 0.7, 0.9):
        cut = codestream[: start + int(share * (len(codestream) - start))].removesuffix(b"\xff")
        with pytest.raises(DecodeError, match="the JPEG codestream is cut off"):
            decode_frame(cut + b"\xff\xd9", pixels, reduction=reduction)
    decode_frame(codestream, pixels, reduction=reduction)


@pytest.mark.parametrize(
    "ending", [b"\xff\xd9", b"\xff\xff\xff\xd9", b"\x00\x00\xff\xd9", b"\xff\xd9\xff\xd9\x00"]
)
@pytest.mark.parametrize(
    ("pixels", "samples", "options"),
    [
        (_grey(BASELINE, 8, allocated=8), np.full((64, 48), 128, np.uint8), {}),
        (_colour(BASELINE, "YBR_FULL"), np.full((64, 48, 3), 128, np.uint8), {}),
        (_grey(EXTENDED), MIDDLE, {"bitspersample": 12}),
        *(
            (_grey(LOSSLESS), MIDDLE, {"bitspersample": 12, "lossless": True, "predictor": n})
            for n in range(1, 8)
        ),
    ],
)
def test_a_whole_jpeg_that_ends_in_middle_grey_is_no_cut_off_one(pixels, samples, options, ending):
    """Though libjpeg gives the same for what is missing."""
    codestream = bytes(imagecodecs.jpeg8_encode(samples, 100, **options)).removesuffix(b"\xff\xd9") + ending
    decoded = decode_frame(codestream, pixels).samples
    assert np.abs(decoded.astype(int) - samples).max() <= 1


def test_jpegls_without_an_end_is_refused_at_once():
    """A JPEG-LS codestream without its end marker never reaches CharLS, which would read on for seconds."""
    data = _encoded(JPEG_LS)
    for length in (len(data) - 2, len(data) - 40, len(data) // 2):
        with pytest.raises(DecodeError, match="the JPEG-LS codestream is cut off"):
            decode_frame(data[:length], _grey(JPEG_LS))


def test_jpegls_signed_samples():
    """JPEG-LS has no sign of its own: the header's is applied at HighBit."""
    data = imagecodecs.jpegls_encode((SIGNED & 0xFFF).astype(np.uint16))
    assert np.array_equal(decode_frame(data, _grey(JPEG_LS, 12, 1)).samples, SIGNED)


def test_the_registry_names_every_decoder_and_its_version():
    """Each transfer syntax stands once in the list, with a decoder that imports, its version, and no GPL."""
    listed = codecs()
    assert len({codec.uid for codec in listed}) == len(listed) >= 20
    for codec in listed:
        assert codec.name
        assert codec.decoder
        assert codec.version[0].isdigit()
        assert "libjpeg)" not in codec.decoder


@pytest.mark.parametrize(
    ("uid", "words"),
    [
        (f"{ROOT}.4.102", "MPEG-4 AVC/H.264"),
        ("1.2.3.4", "transfer syntax 1.2.3.4"),
        ("", "without a transfer syntax"),
    ],
)
def test_unsupported_syntaxes_are_named(uid, words):
    """A syntax that nothing decodes is refused with its name and its UID as a field."""
    with pytest.raises(UnsupportedTransferSyntaxError, match=words) as caught:
        decode_frame(b"x", _grey(uid))
    assert caught.value.transfer_syntax_uid == uid


def test_a_syntax_that_an_extra_brings_says_which():
    """Where an optional package would help, the reason is the command that installs it."""
    uid = f"{ROOT}.4.92"
    if any(codec.uid == uid and "GDCM" in codec.decoder for codec in codecs()):
        pytest.skip("python-gdcm is installed")
    with pytest.raises(UnsupportedTransferSyntaxError, match="pip install python-gdcm"):
        decode_frame(_encoded(J2K_LOSSLESS), _grey(uid))


JPEG_XL, JPEG_XL_RECOMPRESSED, JPEG_XL_LOSSY = f"{ROOT}.4.110", f"{ROOT}.4.111", f"{ROOT}.4.112"


@pytest.mark.parametrize("shape", [(64, 48), (61, 47), (40, 40), (300, 400), (9, 600), (1, 1)])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_jpeg_xl_lossless_is_exact(shape, bits):
    """JPEG XL Lossless gives back every sample, of any precision and size, with and without a container."""
    kind = np.uint8 if bits == 8 else np.uint16
    values = np.random.default_rng(1).integers(0, 1 << bits, shape).astype(kind)
    pixels = replace(_grey(JPEG_XL, bits, allocated=kind().itemsize * 8), rows=shape[0], columns=shape[1])
    for container in (False, True):
        data = imagecodecs.jpegxl_encode(values, lossless=True, bitspersample=bits, usecontainer=container)
        decoded = decode_frame(bytes(data), pixels)
        assert decoded.samples.dtype == values.dtype
        assert np.array_equal(decoded.samples, values)


def test_jpeg_xl_has_the_headers_sign():
    """JPEG XL has no sign of its own: the header's is applied at HighBit."""
    data = imagecodecs.jpegxl_encode((SIGNED & 0xFFF).astype(np.uint16), lossless=True, bitspersample=12)
    assert np.array_equal(decode_frame(bytes(data), _grey(JPEG_XL, 12, 1)).samples, SIGNED)


@pytest.mark.parametrize("declared", ["RGB", "YBR_FULL", "XYB"])
def test_jpeg_xl_colour_is_rgb(declared):
    """The decoder undoes every colour transform, whatever the header calls it."""
    data = imagecodecs.jpegxl_encode(COLOUR, lossless=True)
    decoded = decode_frame(bytes(data), _colour(JPEG_XL, declared))
    assert decoded.photometric_interpretation == "RGB"
    assert np.array_equal(decoded.samples, COLOUR)


def test_jpeg_xl_recompressed_and_lossy():
    """A recompressed JPEG shows what the JPEG shows, and a lossy codestream nearly what was encoded."""
    smooth = (np.add.outer(np.arange(64), np.arange(48)) * 2).astype(np.uint8)
    plain = jpeg(np.stack([smooth, 255 - smooth, smooth // 2], axis=-1), subsampling=0)
    expected = np.asarray(Image.open(io.BytesIO(plain)).convert("RGB")).astype(int)
    data = bytes(imagecodecs.jpegxl_encode_jpeg(plain))
    decoded = decode_frame(data, _colour(JPEG_XL_RECOMPRESSED, "YBR_FULL"))
    assert np.abs(decoded.samples - expected).max() <= 3
    lossy = decode_frame(
        bytes(imagecodecs.jpegxl_encode(smooth, distance=1.0)), _grey(JPEG_XL_LOSSY, 8, allocated=8)
    )
    assert np.abs(lossy.samples.astype(int) - smooth).max() <= 8


def test_broken_jpeg_xl_is_refused():
    """What is cut off, of another size, or of four components never becomes a picture."""
    data = bytes(imagecodecs.jpegxl_encode(RAMP, lossless=True, bitspersample=12))
    for length in (0, 1, 3, 20, len(data) // 2, len(data) - 1):
        with pytest.raises(DecodeError):
            decode_frame(data[:length], _grey(JPEG_XL))
    with pytest.raises(DecodeError, match="the codestream is 64 x 48, the header says 63 x 48"):
        decode_frame(data, replace(_grey(JPEG_XL), rows=63))
    four = bytes(imagecodecs.jpegxl_encode(np.zeros((64, 48, 4), np.uint8), lossless=True))
    with pytest.raises(DecodeError, match="1 extra channels"):
        decode_frame(four, _colour(JPEG_XL))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float16, np.float32])
@pytest.mark.parametrize("container", [False, True])
@pytest.mark.parametrize("lossless", [False, True])
def test_jpeg_xl_headers_are_read(kind, container, lossless):
    """Size and extra channels, of still images and animations, integers and floats, grey and colour."""
    options = {"lossless": lossless, "usecontainer": container}
    for shape in ((64, 48), (61, 300), (1, 1), (5, 64, 48)):
        for components in (1, 2, 3, 4):
            full = shape if components == 1 else (*shape, components)
            if len(full) == 3 and components == 1:
                full = (*full, 3)
            data = bytes(imagecodecs.jpegxl_encode(np.zeros(full, kind), **options))
            assert read_jpegxl_header(data) == (*shape[-2:], int(components in (2, 4)))


def test_an_installation_without_jpeg_xl_says_so():
    """Where imagecodecs was trimmed, as in the Lambda layer, the syntax is refused by name and not listed."""
    code = """
import sys
sys.modules["imagecodecs._jpegxl"] = None
from dicom_series_preview.pixels.codecs.registry import codecs
from dicom_series_preview.pixels.codecs.frame import decode_frame
from dicom_series_preview.base.errors import UnsupportedTransferSyntaxError
from dicom_series_preview.base.image import PixelDescription
assert not [codec for codec in codecs() if "XL" in codec.name]
try:
    decode_frame(b"x", PixelDescription("1.2.840.10008.1.2.4.110", 1, 1))
except UnsupportedTransferSyntaxError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "no decoder for JPEG XL Lossless (1.2.840.10008.1.2.4.110): imagecodecs was installed without it\n"
    )


def test_jpeg_xl_is_loaded_when_it_is_met():
    """Decoding anything else imports nothing of JPEG XL."""
    code = """
import sys
from dicom_series_preview.pixels.codecs.frame import decode_frame
from dicom_series_preview.base.image import PixelDescription
decode_frame(bytes(2), PixelDescription("1.2.840.10008.1.2.1", 1, 1))
assert "imagecodecs" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
