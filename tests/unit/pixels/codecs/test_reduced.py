import io
import struct

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from codestreams import described, j2k, jpeg
from dicom_series_preview.base.errors import DecodeError
from dicom_series_preview.base.image import LookupTable, Palette
from dicom_series_preview.pixels.codecs.frame import decode_frame

ROOT = "1.2.840.10008.1.2"
BASELINE, EXTENDED, LOSSLESS = f"{ROOT}.4.50", f"{ROOT}.4.51", f"{ROOT}.4.70"
J2K_LOSSLESS, J2K, HTJ2K = f"{ROOT}.4.90", f"{ROOT}.4.91", f"{ROOT}.4.201"


def _smooth(rows: int, columns: int, bits: int, *, signed: bool = False) -> np.ndarray:
    """A plane wave over nearly the whole range of a number of bits."""
    y, x = np.mgrid[:rows, :columns]
    wave = np.sin(x / 11 + y / 17) * 0.49 * (1 << bits)
    kind = f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}"
    return np.rint(wave if signed else wave + (1 << bits - 1)).astype(kind)


def _low_pass(samples: np.ndarray) -> np.ndarray:
    """The low-pass half of one level of the reversible 5/3 wavelet, along rows (ISO/IEC 15444-1 F.3.8.2)."""
    values = np.pad(samples.astype(int), ((0, 0), (2, 2)), mode="reflect")
    detail = {
        at: values[:, at] - (values[:, at - 1] + values[:, at + 1]) // 2
        for at in range(1, values.shape[1] - 1, 2)
    }
    means = [
        values[:, at] + (detail[at - 1] + detail[at + 1] + 2) // 4 for at in range(2, values.shape[1] - 2, 2)
    ]
    return np.stack(means, axis=1)


@pytest.mark.parametrize("shape", [(64, 48), (61, 47), (33, 65)])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_jpeg2000_at_reduced_resolution_is_the_wavelets_low_pass(shape, signed, reduction):
    """Reduced samples are those of the standard's own arithmetic, for odd sizes and signed samples too."""
    samples = _smooth(*shape, 12, signed=signed)
    expected = samples.astype(int)
    for _ in range(reduction.bit_length() - 1):
        expected = _low_pass(_low_pass(expected.T).T)
    decoded = decode_frame(j2k(samples, 12), described(samples, J2K_LOSSLESS, 12), reduction=reduction)
    assert decoded.reduction == reduction
    assert decoded.samples.dtype == samples.dtype
    limits = (-2048, 2047) if signed else (0, 4095)
    assert np.array_equal(decoded.samples, np.clip(expected, *limits))


@pytest.mark.parametrize(
    ("bits", "signed"), [(b, s) for b in (2, 7, 8, 9, 10, 12, 15, 16) for s in (False, True)]
)
def test_jpeg2000_of_every_precision_keeps_its_range(bits, signed):
    """A reduced frame's plateaus have the stored values, whatever the precision and the sign."""
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    samples = np.full((64, 64), low, f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")
    samples[:, 32:] = high
    pixels = described(samples, J2K_LOSSLESS, bits)
    decoded = decode_frame(j2k(samples, bits), pixels, reduction=2)
    assert decoded.reduction == 2
    assert decoded.samples.dtype == samples.dtype
    assert np.all(decoded.samples[:, :12] == low)
    assert np.all(decoded.samples[:, 20:] == high)


def test_jpeg2000_begins_half_a_pixel_before_its_first_sample():
    """The offset is where the frame's edge lies among reduced samples, so that nothing shifts."""
    samples = np.tile(np.arange(64, dtype=np.uint16) * 10, (64, 1))
    for reduction in (2, 4, 8):
        decoded = decode_frame(j2k(samples, 12), described(samples, J2K_LOSSLESS, 12), reduction=reduction)
        inner = slice(2, decoded.samples.shape[1] - 2)
        centres = (np.arange(decoded.samples.shape[1]) + 0.5 - decoded.offset) * reduction - 0.5
        assert np.abs(decoded.samples[0, inner] - centres[inner] * 10).max() <= 3


@pytest.mark.parametrize("photometric", [1, 3])
def test_jpeg2000_colour_is_reduced_with_or_without_a_component_transform(photometric):
    """Reduced colour has its component transform undone, and says so."""
    plane = _smooth(64, 48, 8)
    samples = np.stack([plane, plane // 2, 255 - plane], axis=-1)
    pixels = described(
        samples, J2K_LOSSLESS, 8, photometric_interpretation="YBR_RCT" if photometric == 1 else "YBR_FULL"
    )
    decoded = decode_frame(j2k(samples, 8, photometric), pixels, reduction=2)
    whole = decode_frame(j2k(samples, 8, photometric), pixels)
    assert (decoded.reduction, decoded.samples.shape) == (2, (32, 24, 3))
    assert decoded.photometric_interpretation == whole.photometric_interpretation
    for component in range(3):
        expected = np.clip(_low_pass(_low_pass(samples[..., component].T).T), 0, 255)
        assert np.abs(decoded.samples[..., component] - expected).max() <= (2 if photometric == 1 else 0)


def test_htj2k_is_reduced_too():
    """High-Throughput JPEG 2000 has the same resolution levels."""
    samples = _smooth(64, 48, 12)
    data = bytes(imagecodecs.htj2k_encode(samples, reversible=True))
    decoded = decode_frame(data, described(samples, HTJ2K, 16), reduction=4)
    assert (decoded.reduction, decoded.samples.shape) == (4, (16, 12))
    assert np.abs(decoded.samples.astype(int) - samples[::4, ::4]).max() <= 700


def test_fewer_levels_than_asked_for_are_what_is_used():
    """A codestream of one decomposition level is halved once; one of none is decoded whole."""
    samples = _smooth(64, 48, 16)
    for resolutions, used in ((1, 1), (2, 2), (3, 4)):
        data = imagecodecs.jpeg2k_encode(
            samples, codecformat="J2K", level=0, resolutions=resolutions, reversible=True
        )
        decoded = decode_frame(bytes(data), described(samples, J2K_LOSSLESS, 16), reduction=8)
        assert decoded.reduction == used


def _tiled(samples: np.ndarray, side: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, "JPEG2000", no_jp2=True, tile_size=(side, side), num_resolutions=3)
    return buffer.getvalue()


def test_tiles_are_put_together_where_they_have_whole_samples():
    """Tiles whose sides the reduction divides are reduced; others, whose samples would not meet, are not."""
    samples = _smooth(100, 90, 8)
    pixels = described(samples, J2K, 8)
    decoded = decode_frame(_tiled(samples, 32), pixels, reduction=4)
    assert decoded.reduction == 4
    assert np.abs(decoded.samples.astype(int) - samples[::4, ::4]).max() <= 40
    assert decode_frame(_tiled(samples, 34), pixels, reduction=4).reduction == 1


SAMPLES = _smooth(64, 48, 12)
SIGNED = SAMPLES.astype(np.int16) - 2048


@pytest.mark.parametrize(
    ("samples", "precision", "changes"),
    [
        (SAMPLES, 12, {"pixel_representation": 1}),  # the header's sign is another: values wrap
        (SIGNED, 12, {"pixel_representation": 0}),
        (SAMPLES | 0xF000, 16, {}),  # overlays above HighBit
        (SAMPLES << 2, 14, {"high_bit": 13}),  # bits below the stored value
        (SAMPLES, 12, {"photometric_interpretation": "PALETTE COLOR"}),
        (SAMPLES, 12, {"palette": Palette(*[LookupTable(1, 0, 8, b"\0\0")] * 3)}),
    ],
)
def test_bits_that_cannot_be_averaged_are_decoded_whole(samples, precision, changes):
    """Where words are not stored values, or stored values no quantities, means of them are not made."""
    pixels = described(samples, J2K_LOSSLESS, 12, **changes)
    data = j2k(samples, precision)
    decoded, whole = decode_frame(data, pixels, reduction=2), decode_frame(data, pixels)
    assert decoded.reduction == 1
    assert np.array_equal(decoded.samples, whole.samples)


def test_sixteen_bit_colour_is_decoded_whole():
    """Pillow has 8 bits for colour, so that more are never cut off."""
    samples = np.stack([_smooth(64, 48, 16)] * 3, axis=-1)
    decoded = decode_frame(j2k(samples, 16, 1), described(samples, J2K_LOSSLESS, 16), reduction=2)
    assert decoded.reduction == 1
    assert np.array_equal(decoded.samples, samples)


@pytest.mark.parametrize("reduction", [4, 8])
@pytest.mark.parametrize("shape", [(64, 48), (61, 47)])
def test_jpeg_at_reduced_resolution_is_the_mean_of_blocks(shape, reduction):
    """A reduced JPEG sample is the mean of the pixels it stands for, whole blocks and cut ones alike."""
    samples = _smooth(*shape, 8)
    data, pixels = jpeg(samples), described(samples, BASELINE, 8)
    decoded, whole = decode_frame(data, pixels, reduction=reduction), decode_frame(data, pixels).samples
    padded = np.pad(whole.astype(float), [(0, -side % reduction) for side in shape], mode="edge")
    rows, columns = (side // reduction for side in padded.shape)
    means = padded.reshape(rows, reduction, columns, reduction).mean(axis=(1, 3))
    inner = np.s_[: shape[0] // reduction, : shape[1] // reduction]
    assert (decoded.reduction, decoded.offset, decoded.samples.shape) == (reduction, 0, (rows, columns))
    assert np.abs(decoded.samples[inner] - means[inner]).max() <= 2


@pytest.mark.parametrize("declared", ["RGB", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_reduced_jpeg_has_the_colours_of_the_whole(declared, subsampling):
    """Components are not converted, and are what the markers say, as at full resolution."""
    plane = _smooth(64, 64, 8)
    samples = np.stack([plane, np.roll(plane, 9, 1), 255 - plane], axis=-1)
    data = jpeg(samples, subsampling=subsampling)
    pixels = described(samples, BASELINE, 8, photometric_interpretation=declared)
    decoded, whole = decode_frame(data, pixels, reduction=2), decode_frame(data, pixels)
    assert decoded.reduction == 2
    assert decoded.photometric_interpretation == whole.photometric_interpretation
    means = whole.samples.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.sqrt(np.mean((decoded.samples - means) ** 2)) <= 1


def test_what_cannot_be_scaled_is_decoded_whole():
    """JPEG of 12 bits, lossless, of chroma halved in one direction only, or JPEG-LS is decoded whole."""
    colour = np.stack([_smooth(64, 64, 8)] * 3, axis=-1)
    cases = (
        (imagecodecs.jpeg8_encode(SAMPLES, level=95, bitspersample=12), described(SAMPLES, EXTENDED, 12)),
        (imagecodecs.ljpeg_encode(SAMPLES, bitspersample=12), described(SAMPLES, LOSSLESS, 12)),
        (imagecodecs.jpegls_encode(SAMPLES), described(SAMPLES, f"{ROOT}.4.80", 12)),
        (jpeg(colour, subsampling=1), described(colour, BASELINE, 8)),
        (SAMPLES.tobytes(), described(SAMPLES, f"{ROOT}.1", 12)),
    )
    for data, pixels in cases:
        decoded = decode_frame(bytes(data), pixels, reduction=4)
        assert decoded.reduction == 1
        assert np.array_equal(decoded.samples, decode_frame(bytes(data), pixels).samples)


@pytest.mark.parametrize("uid", [J2K_LOSSLESS, BASELINE])
@pytest.mark.parametrize("reduction", [4, 8])
def test_cut_off_codestreams_are_refused_at_reduced_resolution_too(uid, reduction):
    """Whatever is missing is missed, also where the reduced frame would not have needed it."""
    samples = SAMPLES if uid == J2K_LOSSLESS else _smooth(64, 48, 8)
    data = j2k(samples, 12) if uid == J2K_LOSSLESS else jpeg(samples)
    pixels = described(samples, uid, 12 if uid == J2K_LOSSLESS else 8)
    for length in (0, 3, 64, len(data) // 2, len(data) - 40):
        with pytest.raises(DecodeError):
            decode_frame(data[:length], pixels, reduction=reduction)


@pytest.mark.parametrize("uid", [J2K_LOSSLESS, BASELINE])
def test_another_size_than_the_headers_is_refused_before_it_is_decoded(uid):
    """A codestream that declares far more pixels than the header is refused by its own header."""
    data = bytearray(j2k(SAMPLES, 12) if uid == J2K_LOSSLESS else jpeg(_smooth(64, 48, 8)))
    if uid == J2K_LOSSLESS:
        struct.pack_into(">II", data, 8, 60000, 60000)
    else:
        struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, 60000, 60000)
    with pytest.raises(DecodeError, match="the codestream is 60000 x 60000"):
        decode_frame(bytes(data), described(SAMPLES, uid, 12), reduction=4)
