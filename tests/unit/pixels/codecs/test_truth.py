import csv
import hashlib
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames
from pydicom.pixels import convert_color_space

from dicom_series_preview.base.errors import DecodeError, UnsupportedTransferSyntaxError
from dicom_series_preview.base.image import LookupTable, Palette, PixelDescription
from dicom_series_preview.pixels.codecs.colour import to_rgb
from dicom_series_preview.pixels.codecs.frame import decode_frame

pytestmark = pytest.mark.real_data

_JPEG_8_BIT = "1.2.840.10008.1.2.4.50"
# The first has Rows ask for twice the bytes that there are. The table's decoder made the rest up; we refuse
# rather than show what nobody has stored.
_REFUSED = ("malformed/rows_doubled.dcm", "malformed/MR_truncated.dcm", "malformed/truncated_pixeldata.dcm")
# libjpeg-turbo and libjpeg upsample chroma differently: neither is wrong.
_LOSSY_TOLERANCE = 5
_CHROMA_422_TOLERANCE = 15


def _truth() -> list[dict[str, str]]:
    folder = os.environ.get("DICOM_TEST_DATA")
    if not folder or not (Path(folder) / "truth.csv").exists():
        return []
    with (Path(folder) / "truth.csv").open(newline="") as file:
        return list(csv.DictReader(file))


_ROWS = _truth()
_DECODABLE = [row for row in _ROWS if row["status"].startswith("ok") and row["file"] not in _REFUSED]


def _read(folder: Path, row: dict[str, str]) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = dcmread(folder / row["file"], force=True)
        dataset.get("NumberOfFrames")  # whose broken values warn at first sight only
        return dataset


def _number_of_frames(dataset: Dataset) -> int:
    try:
        return int(dataset.get("NumberOfFrames", 1) or 1)
    except ValueError:
        return 1


def _describe(dataset: Dataset) -> tuple[PixelDescription, bytes]:
    """The description, and frame 0's bytes, as the header and frames modules would give them."""
    keyword = next(
        name for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if name in dataset
    )
    bits = dataset.BitsAllocated
    uid = str(dataset.file_meta.get("TransferSyntaxUID", "1.2.840.10008.1.2"))
    pixels = PixelDescription(
        transfer_syntax_uid=uid,
        rows=dataset.Rows,
        columns=dataset.Columns,
        samples_per_pixel=dataset.get("SamplesPerPixel", 1),
        photometric_interpretation=dataset.PhotometricInterpretation,
        bits_allocated=bits,
        bits_stored=dataset.get("BitsStored", bits),
        high_bit=dataset.get("HighBit", bits - 1),
        pixel_representation=dataset.get("PixelRepresentation", 0),
        planar_configuration=dataset.get("PlanarConfiguration", 0) or 0,
        number_of_frames=_number_of_frames(dataset),
        pixel_keyword=keyword,
        palette=_palette(dataset),
        pixel_vr=dataset[keyword].VR,
    )
    data = dataset[keyword].value
    encapsulated = uid.startswith("1.2.840.10008.1.2.4.") or uid in (
        "1.2.840.10008.1.2.5",
        "1.2.840.10008.1.2.8.1",
    )
    if encapsulated:
        data = next(generate_frames(data, number_of_frames=pixels.number_of_frames))
    return pixels, data


def _palette(dataset: Dataset) -> Palette | None:
    tables = []
    for colour in ("Red", "Green", "Blue"):
        data = dataset.get(f"{colour}PaletteColorLookupTableData")
        if data is None:
            return None
        entries, first, bits = dataset[f"{colour}PaletteColorLookupTableDescriptor"].value
        tables.append(LookupTable(entries or 65536, first, bits, data))
    return Palette(*tables)


@pytest.mark.skipif(not _ROWS, reason="DICOM_TEST_DATA names no folder with truth.csv")
@pytest.mark.parametrize("row", _DECODABLE, ids=[row["file"] for row in _DECODABLE])
def test_frame_zero_is_what_independent_decoders_give(real_data, row):
    """Lossless frames match bit by bit; lossy ones in shape and type, and within their codec's tolerance."""
    dataset = _read(real_data, row)
    pixels, data = _describe(dataset)
    samples = decode_frame(data, pixels).samples
    assert "x".join(map(str, samples.shape)) == row["shape"]
    assert samples.dtype.name == row["dtype"]
    if hashlib.sha256(np.ascontiguousarray(samples).tobytes()).hexdigest() == row["expected_sha256"]:
        return
    assert row["lossy_codec"] == "yes"
    tolerance = (
        _CHROMA_422_TOLERANCE if pixels.photometric_interpretation == "YBR_FULL_422" else _LOSSY_TOLERANCE
    )
    assert abs(float(samples.min()) - float(row["min"])) <= tolerance
    assert abs(float(samples.max()) - float(row["max"])) <= tolerance
    assert abs(float(samples.mean()) - float(row["mean"])) <= 0.05
    if row["transfer_syntax_uid"] == _JPEG_8_BIT:
        reference = dataset.pixel_array if pixels.number_of_frames == 1 else dataset.pixel_array[0]
        if pixels.samples_per_pixel == 1:
            assert np.abs(reference.astype(int) - samples).max() <= tolerance


_COLOUR = [row for row in _DECODABLE if row["rgb_sha256_pydicom"]]


@pytest.mark.skipif(not _ROWS, reason="DICOM_TEST_DATA names no folder with truth.csv")
@pytest.mark.parametrize("row", _COLOUR, ids=[row["file"] for row in _COLOUR])
def test_rgb_is_what_pydicom_gives(real_data, row):
    """YBR turns to RGB within one level of pydicom's conversion of the same samples."""
    pixels, data = _describe(_read(real_data, row))
    decoded = decode_frame(data, pixels)
    rgb = to_rgb(decoded, pixels)
    assert rgb.dtype == np.uint8
    assert rgb.shape == decoded.samples.shape
    expected = decoded.samples
    if decoded.photometric_interpretation == "YBR_FULL":
        expected = convert_color_space(expected, "YBR_FULL", "RGB")
    assert np.abs(rgb.astype(int) - expected).max() <= 1


@pytest.mark.skipif(not _ROWS, reason="DICOM_TEST_DATA names no folder with truth.csv")
@pytest.mark.parametrize("name", _REFUSED)
def test_truncated_pixels_are_refused_with_both_lengths(real_data, name):
    """Pixel data shorter than the header promises never becomes a picture; the reason names both lengths."""
    row = next(row for row in _ROWS if row["file"] == name)
    pixels, data = _describe(_read(real_data, row))
    with pytest.raises(
        DecodeError, match=rf"{pixels.native_layout().frame_bits // 8:,} bytes expected, {len(data):,} found"
    ):
        decode_frame(data, pixels)


@pytest.mark.skipif(not _ROWS, reason="DICOM_TEST_DATA names no folder with truth.csv")
def test_what_independent_decoders_refuse_is_read_or_refused_by_name(real_data):
    """A file that other decoders cannot read gives a frame or a DecodeError, and nothing else."""
    for row in _ROWS:
        if not row["status"].startswith("undecodable"):
            continue
        try:
            pixels, data = _describe(_read(real_data, row))
        except (AttributeError, StopIteration):
            continue
        try:
            decode_frame(data, pixels)
        except UnsupportedTransferSyntaxError as error:
            assert error.transfer_syntax_uid  # noqa: PT017 - either outcome is right
        except DecodeError as error:
            assert error.reason  # noqa: PT017 - either outcome is right
