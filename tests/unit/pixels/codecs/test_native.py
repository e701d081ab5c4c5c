import zlib
from dataclasses import replace

import numpy as np
import pytest

from dicom_series_preview.base.errors import DecodeError
from dicom_series_preview.base.image import PixelDescription
from dicom_series_preview.pixels.codecs.frame import decode_frame

EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED_FRAME = "1.2.840.10008.1.2.8.1"


def _grey(**changes) -> PixelDescription:
    return replace(PixelDescription(EXPLICIT, rows=2, columns=3), **changes)


def _rgb(**changes) -> PixelDescription:
    colour = _grey(
        samples_per_pixel=3, photometric_interpretation="RGB", bits_allocated=8, bits_stored=8, high_bit=7
    )
    return replace(colour, **changes)


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@pytest.mark.parametrize("sign", ["u", "i"])
@pytest.mark.parametrize(("uid", "order"), [(EXPLICIT, "<"), (BIG_ENDIAN, ">")])
def test_integers_of_every_size_sign_and_byte_order(bits, sign, uid, order):
    """Native words come out with their values, in native order and the type that the header describes."""
    info = np.iinfo(f"{sign}{bits // 8}")
    values = np.array([[info.min, info.max, 0], [1, 2, 3]], info.dtype)
    pixels = _grey(
        transfer_syntax_uid=uid,
        bits_allocated=bits,
        bits_stored=bits,
        high_bit=bits - 1,
        pixel_representation=int(sign == "i"),
        pixel_vr="OB" if bits == 8 else "OW",
    )
    samples = decode_frame(values.astype(info.dtype.newbyteorder(order)).tobytes(), pixels).samples
    assert samples.dtype == info.dtype
    assert samples.dtype.isnative
    assert samples.tolist() == values.tolist()


@pytest.mark.parametrize(("keyword", "dtype"), [("FloatPixelData", "f4"), ("DoubleFloatPixelData", "f8")])
@pytest.mark.parametrize(("uid", "order"), [(EXPLICIT, "<"), (BIG_ENDIAN, ">")])
def test_float_pixel_data(keyword, dtype, uid, order):
    """Float and double pixels come out as they are, whatever BitsAllocated says."""
    values = np.array([[0.5, -1e-8, np.inf], [3.25e30, 0, -7]], dtype)
    pixels = _grey(transfer_syntax_uid=uid, pixel_keyword=keyword)
    samples = decode_frame(values.astype(np.dtype(dtype).newbyteorder(order)).tobytes(), pixels).samples
    assert samples.dtype == np.dtype(dtype)
    assert samples.tolist() == values.tolist()


def test_big_endian_words_of_8_bit_samples_are_swapped():
    """In big endian, 8-bit samples in an OW element lie in swapped pairs; in an OB element they do not."""
    pixels = _grey(transfer_syntax_uid=BIG_ENDIAN, bits_allocated=8, bits_stored=8, high_bit=7, pixel_vr="OW")
    assert decode_frame(bytes([2, 1, 4, 3, 6, 5]), pixels).samples.tolist() == [[1, 2, 3], [4, 5, 6]]
    pixels = replace(pixels, pixel_vr="OB")
    assert decode_frame(bytes([2, 1, 4, 3, 6, 5]), pixels).samples.tolist() == [[2, 1, 4], [3, 6, 5]]


@pytest.mark.parametrize("bit_offset", range(8))
def test_one_bit_frames_may_begin_inside_a_byte(bit_offset):
    """1-bit samples are packed lowest bit first, and a frame begins at any bit of its first byte."""
    values = [1, 0, 0, 1, 1, 0]
    stream = sum(value << (bit_offset + i) for i, value in enumerate(values))
    pixels = _grey(bits_allocated=1, bits_stored=1, high_bit=0)
    samples = decode_frame(stream.to_bytes(2, "little"), pixels, bit_offset=bit_offset).samples
    assert samples.dtype == np.uint8
    assert samples.ravel().tolist() == values


def test_twelve_bits_allocated_are_packed():
    """12-bit samples lie two in three bytes, the lower bits first."""
    values = [0x123, 0xABC, 0xFFF, 0x000, 0x801, 0x7FE]
    stream = sum(value << 12 * i for i, value in enumerate(values)).to_bytes(9, "little")
    pixels = _grey(bits_allocated=12, bits_stored=12, high_bit=11)
    assert decode_frame(stream, pixels).samples.ravel().tolist() == values
    signed = decode_frame(stream, replace(pixels, pixel_representation=1)).samples
    assert signed.ravel().tolist() == [0x123, 0xABC - 4096, -1, 0, 0x801 - 4096, 0x7FE]


@pytest.mark.parametrize(
    ("word", "stored", "high_bit", "representation", "expected"),
    [
        (0xF123, 12, 11, 0, 0x123),  # overlay bits above HighBit
        (0xF7FF, 12, 11, 1, 0x7FF),
        (0x0800, 12, 11, 1, -2048),  # the sign is at HighBit
        (0x123F, 12, 15, 0, 0x123),  # bits below the stored value
        (0x8000, 12, 15, 1, -2048),
        (0x1230, 8, 11, 0, 0x23),  # bits on both sides
        (0x0800, 8, 11, 1, -128),
        (0xFFFF, 16, 15, 1, -1),
        (0xFFFF, 0, 15, 0, 0xFFFF),  # BitsStored says nothing
        (0xF123, 12, 3, 0, 0x123),  # HighBit leaves no room for BitsStored
    ],
)
def test_bits_stored_and_high_bit_say_which_bits_are_the_value(
    word, stored, high_bit, representation, expected
):
    """Bits above HighBit are masked, lower ones shifted out, and the sign bit is HighBit."""
    pixels = _grey(
        rows=1, columns=1, bits_stored=stored, high_bit=high_bit, pixel_representation=representation
    )
    assert decode_frame(word.to_bytes(2, "little"), pixels).samples.item() == expected


def test_planar_configuration_is_resolved():
    """Colour by plane and colour by pixel give the same array."""
    values = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    by_pixel = decode_frame(values.tobytes(), _rgb())
    by_plane = decode_frame(values.transpose(2, 0, 1).tobytes(), _rgb(planar_configuration=1))
    assert by_pixel.samples.tolist() == by_plane.samples.tolist() == values.tolist()
    assert by_pixel.photometric_interpretation == "RGB"


def test_native_422_chroma_is_brought_to_full_size():
    """Y1 Y2 Cb Cr gives both pixels the same chroma, and the samples are YBR_FULL from then on."""
    pixels = _rgb(rows=1, columns=4, photometric_interpretation="YBR_FULL_422")
    decoded = decode_frame(bytes([10, 20, 100, 200, 30, 40, 101, 201]), pixels)
    assert decoded.samples.tolist() == [[[10, 100, 200], [20, 100, 200], [30, 101, 201], [40, 101, 201]]]
    assert decoded.photometric_interpretation == "YBR_FULL"
    assert pixels.native_layout().frame_bits == 64


def test_422_in_name_only():
    """A native frame that says 4:2:2 and holds three samples a pixel is read as it is."""
    pixels = _rgb(rows=1, columns=2, photometric_interpretation="YBR_FULL_422")
    assert decode_frame(bytes(range(6)), pixels).samples.tolist() == [[[0, 1, 2], [3, 4, 5]]]


def test_deflated_frames_are_inflated_and_no_further_than_the_frame():
    """A deflated frame is a raw DEFLATE stream; what it holds beyond the frame is not inflated."""
    values = np.arange(6, dtype=np.uint16)
    compressor = zlib.compressobj(wbits=-15)
    data = compressor.compress(values.tobytes() + bytes(10_000_000)) + compressor.flush()
    pixels = _grey(transfer_syntax_uid=DEFLATED_FRAME)
    assert decode_frame(data, pixels).samples.ravel().tolist() == values.tolist()
    with pytest.raises(DecodeError, match="12 bytes expected, 0 found"):
        decode_frame(data[:4], pixels)
    with pytest.raises(DecodeError, match="the deflated frame is broken"):
        decode_frame(b"\xff" * 20, pixels)


@pytest.mark.parametrize("uid", [EXPLICIT, BIG_ENDIAN, "1.2.840.10008.1.2.1.98"])
def test_a_frame_that_is_cut_off_is_refused(uid):
    """A native frame that ends early is refused, naming both lengths; one that is too long is not."""
    pixels = _grey(transfer_syntax_uid=uid)
    with pytest.raises(DecodeError, match="cut off: 12 bytes expected, 11 found"):
        decode_frame(bytes(11), pixels)
    assert decode_frame(bytes(13), pixels).samples.shape == (2, 3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rows": 0}, "0 rows and 3 columns are no image"),
        ({"samples_per_pixel": 4}, "4 samples a pixel cannot be shown"),
        ({"bits_allocated": 0}, "0 bits allocated"),
        ({"bits_allocated": 24}, "24 bits allocated"),
        ({"bits_allocated": 128}, "128 bits allocated"),
    ],
)
def test_descriptions_of_no_image_are_refused(changes, reason):
    """A header that cannot describe an image is refused by name, before anything is read."""
    with pytest.raises(DecodeError, match=reason):
        decode_frame(bytes(1000), _grey(**changes))


def test_the_limit_is_on_decoded_bytes_and_comes_first():
    """A frame beyond the limit is refused before its bytes are looked at."""
    pixels = _grey(rows=65535, columns=65535)
    with pytest.raises(DecodeError, match="8,589,672,450 bytes, more than the limit of 1,073,741,824"):
        decode_frame(b"", pixels)
    with pytest.raises(DecodeError, match="12 bytes, more than the limit of 11"):
        decode_frame(bytes(12), _grey(), limit_bytes=11)
    assert decode_frame(bytes(12), _grey(), limit_bytes=12).samples.shape == (2, 3)


def test_input_is_never_copied_without_need_nor_changed():
    """A memoryview serves as well as bytes."""
    data = memoryview(bytes(range(12)))
    assert decode_frame(data, _grey()).samples.tolist() == decode_frame(bytes(data), _grey()).samples.tolist()


@pytest.mark.parametrize(
    ("changes", "bits"),
    [
        ({}, 96),
        ({"bits_allocated": 1}, 6),
        ({"bits_allocated": 12}, 72),
        ({"samples_per_pixel": 3, "photometric_interpretation": "RGB", "bits_allocated": 8}, 144),
        ({"samples_per_pixel": 3, "photometric_interpretation": "YBR_FULL_422", "bits_allocated": 8}, 96),
    ],
)
def test_native_frame_bits(changes, bits):
    """A native frame takes rows x columns x samples x bits; 4:2:2 shares chroma between two pixels."""
    assert _grey(**changes).native_layout().frame_bits == bits
