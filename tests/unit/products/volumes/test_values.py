"""The values of volumes: what the headers say, in a type that holds every one, or no volume."""

import json
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import zarr
from pydicom import Dataset
from pydicom.pixels.encoders import RLELosslessEncoder

import make_dicom as make
import volumes
from make_dicom import dataset
from volumes import Bench, affine_of, image, ramp, stacked

AFFINE = affine_of()
J2K, JPEG_LOSSLESS, JPEG_LS = (
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
)


def converted(folder: Path, sources: list[Dataset], extension: str = ".zarr", **how: Any) -> Any:
    """The one outcome of a series."""
    return Bench.of(folder / "out", sources).one(extension, **how)


def told(outcome: Any) -> dict[str, Any]:
    """What the receipt says of a volume."""
    assert outcome.status == "made", outcome.refusal
    return outcome.receipt["volume"]


def codes(outcome: Any) -> list[str]:
    """The codes of a receipt's warnings."""
    return [one["code"] for one in outcome.receipt["warnings"]]


# --- types


@pytest.mark.parametrize(
    ("stored", "elements", "wanted", "dtype"),
    [
        ("<u1", {}, lambda v: v, "int16"),
        ("<i1", {}, lambda v: v, "int16"),
        ("<u2", {}, lambda v: v, "uint16"),
        ("<i2", {}, lambda v: v, "int16"),
        ("<u2", {"RescaleSlope": 1, "RescaleIntercept": -1024}, lambda v: v - 1024, "int16"),
        ("<u2", {"RescaleSlope": 2, "RescaleIntercept": -7}, lambda v: v * 2 - 7, "int16"),
        ("<i2", {"RescaleSlope": -1, "RescaleIntercept": 3}, lambda v: 3 - v, "int16"),
        ("<u2", {"RescaleSlope": 0.5, "RescaleIntercept": 0}, lambda v: v * 0.5, "float32"),
        ("<i2", {"RescaleSlope": 1, "RescaleIntercept": 0.25}, lambda v: v + 0.25, "float32"),
        ("<i4", {}, lambda v: v, "int16"),
    ],
)
def test_types(stored: str, elements: dict[str, Any], wanted: Any, dtype: str, tmp_path: Path) -> None:
    """Whole slopes and intercepts give whole numbers of the narrowest fitting type, others float32."""
    values = (ramp() % 120).astype(stored)
    if stored[1] == "i":
        values -= 60
    found = converted(tmp_path, stacked(values, **elements))
    assert told(found)["dtype"] == dtype
    assert not codes(found)
    volumes.check(found.path, wanted(values.astype(np.float64)).astype(np.float32), AFFINE)


def test_float_values_are_rounded_once(tmp_path: Path) -> None:
    """A fractional slope is applied in float64 and rounded to float32 at the end."""
    values = ramp() * 11 + 3
    slope, intercept = 0.0123456789, -17.3
    found = converted(tmp_path, stacked(values, RescaleSlope=slope, RescaleIntercept=intercept))
    volumes.check(found.path, (values * np.float64(slope) + intercept).astype(np.float32), AFFINE)


@pytest.mark.parametrize("extension", volumes.EXTENSIONS)
def test_slope_of_each_slice(extension: str, tmp_path: Path) -> None:
    """Slopes that differ from slice to slice are each slice's own, as PET has them."""
    values = ramp()
    slopes = [0.5, 1.25, 3.0, 0.125]
    sources = stacked(values, each=lambda i: {"RescaleSlope": slopes[i], "RescaleIntercept": i})
    found = converted(tmp_path, sources, extension)
    wanted = np.stack([plane * slopes[i] + i for i, plane in enumerate(values)]).astype(np.float32)
    volumes.check(found.path, wanted, AFFINE)


def test_whole_slopes_of_each_slice(tmp_path: Path) -> None:
    """Whole slopes that differ stay whole numbers."""
    values = ramp()
    found = converted(
        tmp_path, stacked(values, each=lambda i: {"RescaleSlope": i + 1, "RescaleIntercept": -i})
    )
    assert told(found)["dtype"] == "int16"
    wanted = np.stack([plane.astype(int) * (i + 1) - i for i, plane in enumerate(values)])
    volumes.check(found.path, wanted, AFFINE)


@pytest.mark.parametrize(
    ("stored", "top", "rule", "dtype"),
    [
        ("<u2", 32767, (1, 0), "uint16"),
        ("<u2", 65535, (1, 0), "uint16"),
        ("<u2", 40000, (1, -1), "int32"),
        ("<u2", 20000, (2, 0), "int32"),
        ("<i4", 70000, (1, 0), "int32"),
        ("<u4", 2**31 - 1, (1, 0), "int32"),
    ],
)
def test_widened(stored: str, top: int, rule: tuple[int, int], dtype: str, tmp_path: Path) -> None:
    """A slice whose values do not fit begins the volume again in a wider type, and a warning names it."""
    values = ramp().astype(stored)
    values[2, 1, 1] = top
    sources = stacked(values, RescaleSlope=rule[0], RescaleIntercept=rule[1])
    found = converted(tmp_path, sources, ".nii")
    assert told(found)["dtype"] == dtype
    assert codes(found) == ["widened"] * (dtype == "int32")
    assert all(sources[2].SOPInstanceUID in one["text"] for one in found.receipt["warnings"])
    volumes.check(found.path, values.astype(np.int64) * rule[0] + rule[1], AFFINE)
    assert sorted(one.name for one in found.path.parent.iterdir()) == ["v.json", "v.nii"]


def test_what_no_type_holds(tmp_path: Path) -> None:
    """Stored values of 32 bits without a sign beyond int32 are refused, never wrapped around."""
    values = ramp().astype("<u4")
    values[1, 0, 0] = 2**31
    bench = Bench.of(tmp_path / "out", sources := stacked(values))
    found = bench.one(".zarr")
    assert found.refusal.code == "overflow"
    assert sources[1].SOPInstanceUID in found.refusal.problem
    assert bench.written() == []


def test_what_float32_would_round(tmp_path: Path) -> None:
    """Whole values beyond 2^24 stay whole in NIfTI and Zarr; NPZ, which has float32 only, refuses them."""
    values = ramp().astype("<i4")
    values[0, 0, 0] = 2**24 + 1
    bench = Bench.of(tmp_path / "out", stacked(values))
    volumes.check(bench.one(".nii").path, values, AFFINE)
    found = bench.one(".npz")
    assert found.refusal.code == "overflow"
    assert "nifti or zarr" in found.refusal.problem
    assert not (tmp_path / "out/v.npz").exists()


def test_signs_and_depths_are_mixed(tmp_path: Path) -> None:
    """Slices with and without signs, of 8 and 16 bits, share a type that holds them all."""
    planes = [
        ramp(1)[0],
        (ramp(1)[0].astype(int) - 20).astype("<i2"),
        ramp(1, dtype="<u1")[0],
        ramp(1)[0] + 60000,
    ]
    sources = [
        image(i + 1, plane, ImagePositionPatient=list(volumes.above(3.0 * i)))
        for i, plane in enumerate(planes)
    ]
    found = converted(tmp_path, sources)
    volumes.check(found.path, np.stack([plane.astype(np.int64) for plane in planes]), AFFINE)


def test_bits_above_the_highest_are_no_values(tmp_path: Path) -> None:
    """What stands above HighBit, as old overlays do, is masked; a sign is that of BitsStored."""
    values = ramp()
    dirty = (values | 0xF000).astype("<u2")
    found = converted(tmp_path, stacked(dirty, BitsStored=12, HighBit=11))
    volumes.check(found.path, values, AFFINE)
    signed = (values.astype(int) - 70).astype("<i2")
    stored = (signed.view("<u2") & 0x0FFF).astype("<i2")
    found = converted(tmp_path / "2", stacked(stored, BitsStored=12, HighBit=11), ".nii")
    volumes.check(found.path, signed, AFFINE)


def lookup_table(entries: list[int], first: int = 0) -> Dataset:
    """A modality LUT of 16 bits."""
    made = dataset(ModalityLUTType="US")
    make.add(made, 0x00283002, "US", [len(entries), first, 16])
    return make.add(made, 0x00283006, "US", entries)


def test_modality_table(tmp_path: Path) -> None:
    """A modality LUT goes before slope and intercept; values beyond its ends take the ends."""
    values = ramp() % 9
    table = [100, 900, 300, 700, 500]
    sources = stacked(
        values, ModalityLUTSequence=[lookup_table(table, 2)], RescaleSlope=None, RescaleIntercept=None
    )
    found = converted(tmp_path, sources)
    volumes.check(found.path, np.array(table)[np.clip(values.astype(int) - 2, 0, 4)], AFFINE)


# --- padding, MONOCHROME1, stored values


@pytest.mark.parametrize("intercept", [0, -1024])
def test_padding_counts_in_no_statistic(intercept: int, tmp_path: Path) -> None:
    """Padding stays where it is, its value is told, and minimum, maximum and mean leave it out."""
    values = ramp().astype("<i2") + 5
    values[:, 0, :3] = -2000
    sources = stacked(values, PixelPaddingValue=-2000, RescaleSlope=1, RescaleIntercept=intercept)
    found = converted(tmp_path, sources)
    known = values[values != -2000].astype(float) + intercept
    volume = told(found)
    assert (volume["min"], volume["max"]) == (known.min(), known.max())
    assert volume["mean"] == pytest.approx(known.mean())
    assert volume["padding_value"] == -2000 + intercept
    assert codes(found) == ["padding"]
    volumes.check(found.path, values.astype(int) + intercept, AFFINE)


def test_all_is_padding(tmp_path: Path) -> None:
    """A volume of padding alone has no statistics rather than wrong ones."""
    values = np.full((4, 5, 7), 9, "<u2")
    volume = told(converted(tmp_path, stacked(values, PixelPaddingValue=9)))
    assert (volume["min"], volume["max"], volume["mean"]) == (None, None, None)


@pytest.mark.parametrize("extension", [".nii", ".zarr", ".npz"])
def test_monochrome1(extension: str, tmp_path: Path) -> None:
    """MONOCHROME1 stays as it is unless asked; then it turns around what its bits hold, not its range."""
    values = ramp() % 3000
    sources = stacked(
        values,
        PhotometricInterpretation="MONOCHROME1",
        BitsStored=12,
        HighBit=11,
        RescaleIntercept=-10,
        RescaleSlope=1,
    )
    bench = Bench.of(tmp_path / "out", sources)
    kept = bench.one(extension, "kept")
    volumes.check(kept.path, values.astype(int) - 10, AFFINE)
    turned = bench.one(extension, "turned", options={"monochrome1": "invert"})
    volumes.check(turned.path, (-10 + 4085) - (values.astype(int) - 10), AFFINE)


@pytest.mark.parametrize("extension", [".zarr", ".nii", ".nii.gz"])
def test_stored_values(extension: str, tmp_path: Path) -> None:
    """With `values` stored, files hold stored numbers, and say by what they are scaled."""
    values = ramp()
    sources = stacked(values, RescaleSlope=0.5, RescaleIntercept=-100)
    found = converted(tmp_path, sources, extension, options={"values": "stored"})
    if extension == ".zarr":
        volumes.check(found.path, values, AFFINE)
        attributes = dict(zarr.open_array(found.path / "volume", mode="r").attrs)
        assert (attributes["scale_factor"], attributes["add_offset"]) == (0.5, -100)
    else:
        volumes.check(found.path, values * 0.5 - 100, AFFINE)


def test_stored_values_of_many_rules(tmp_path: Path) -> None:
    """Stored values that mean different things from slice to slice are refused with the remedy."""
    sources = stacked(ramp(), each=lambda i: {"RescaleSlope": i + 1, "RescaleIntercept": 0})
    found = converted(tmp_path, sources, options={"values": "stored"})
    assert found.refusal.code == "unsupported"
    assert "`values` modality" in found.refusal.problem


def test_units(tmp_path: Path) -> None:
    """CT has Hounsfield units, PET what Units says, and MR none."""
    for modality, more, unit in (
        ("CT", {"SOPClassUID": make.CT_IMAGE, "RescaleSlope": 1, "RescaleIntercept": -1024}, "HU"),
        ("PT", {"Units": "BQML"}, "BQML"),
        ("MR", {}, None),
    ):
        found = converted(tmp_path / modality, stacked(ramp(), Modality=modality, **more))
        assert told(found)["units"] == unit


# --- colour and floating point


def coloured() -> np.ndarray:
    """RGB values (z, rows, columns, 3)."""
    rng = np.random.default_rng(5)
    return rng.integers(0, 256, (4, 5, 7, 3), np.uint8)


def colour_check(path: Path, rgb: np.ndarray) -> None:
    """Assert that a file holds colours at the usual place."""
    data, affine = volumes.canonical(*volumes.read(path))
    wanted, where = volumes.canonical(rgb.transpose(2, 1, 0, 3), AFFINE)
    np.testing.assert_array_equal(data, wanted)
    np.testing.assert_allclose(affine, where, atol=1e-4)


RGB = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}


@pytest.mark.parametrize("extension", volumes.EXTENSIONS)
@pytest.mark.parametrize("kind", ["RGB", "by plane", "PALETTE COLOR"])
def test_colour(kind: str, extension: str, tmp_path: Path) -> None:
    """Colour is 8-bit RGB in every format, whether by pixel, by plane or by palette."""
    rgb = coloured()
    if kind == "PALETTE COLOR":
        rng = np.random.default_rng(6)
        palette = rng.integers(0, 256, (3, 256))
        stored = rng.integers(0, 256, (4, 5, 7), np.uint8)
        rgb = np.moveaxis(palette[:, stored], 0, -1).astype(np.uint8)
        sources = stacked(stored, PhotometricInterpretation=kind)
        for source in sources:
            for n, (name, entries) in enumerate(zip(("Red", "Green", "Blue"), palette, strict=True)):
                assert name
                make.add(source, 0x00281101 + n, "US", [256, 0, 16])
                make.add(source, 0x00281201 + n, "OW", (entries * 257).astype("<u2").tobytes())
    elif kind == "RGB":
        sources = stacked(rgb, **RGB)
    else:
        sources = stacked(rgb, **{**RGB, "PlanarConfiguration": 1})
        for source, plane in zip(sources, rgb, strict=True):
            data = np.moveaxis(plane, -1, 0).tobytes()
            source.PixelData = data + b"\0" * (len(data) % 2)
    for source in sources:
        source.Rows, source.Columns = 5, 7
    found = converted(tmp_path, sources, extension)
    assert told(found)["dtype"] == "uint8"
    colour_check(found.path, rgb)


def test_ybr_is_turned_into_rgb(tmp_path: Path) -> None:
    """YBR_FULL becomes RGB by the standard's matrix (PS3.3 C.7.6.3.1.2)."""
    stored = coloured()
    y, cb, cr = (stored[..., i].astype(float) for i in range(3))
    wanted = np.stack(
        [y + 1.402 * (cr - 128), y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128), y + 1.772 * (cb - 128)],
        -1,
    ).clip(0, 255)
    sources = stacked(stored, **{**RGB, "PhotometricInterpretation": "YBR_FULL"})
    data, _ = volumes.canonical(*volumes.read(converted(tmp_path, sources, ".nii").path))
    expected, _ = volumes.canonical(wanted.transpose(2, 1, 0, 3), AFFINE)
    assert np.abs(data.astype(float) - expected).max() <= 1


def test_colour_among_grey(tmp_path: Path) -> None:
    """Colour and grey in one volume are refused: neither becomes the other by a guess."""
    sources = [*stacked(ramp(2, dtype="<u1"))]
    sources += stacked(coloured()[:2], origin=volumes.above(6), first=3, **RGB)
    plan = Bench.of(tmp_path, sources).plan()
    assert {one.refusal.code for one in plan.refused} <= {"unsupported"}
    assert all(one.shape[1] == 2 for one in plan.volumes)


def floats(values: np.ndarray, keyword: str) -> list[Dataset]:
    """Slices with floating-point pixels."""
    bits = values.dtype.itemsize * 8
    sources = stacked(
        np.zeros(values.shape, "<u2"),
        PixelData=None,
        BitsAllocated=bits,
        BitsStored=None,
        HighBit=None,
        PixelRepresentation=None,
    )
    for source, plane in zip(sources, values, strict=True):
        setattr(source, keyword, plane.tobytes())
    return sources


@pytest.mark.parametrize("extension", volumes.EXTENSIONS)
@pytest.mark.parametrize(("keyword", "dtype"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")])
def test_floating_point_with_nan(keyword: str, dtype: str, extension: str, tmp_path: Path) -> None:
    """Floating-point pixels keep their values, NaN and infinities, and the file is proved with them."""
    values = ramp().astype(dtype) / 7
    values[1, 2, 3], values[0, 0, 0], values[3, 1, 1] = np.nan, np.inf, -np.inf
    found = converted(tmp_path, floats(values, keyword), extension)
    known = values[np.isfinite(values)].astype(np.float32)
    assert told(found)["dtype"] == "float32"
    assert (told(found)["min"], told(found)["max"]) == (known.min(), known.max())
    assert json.dumps(found.receipt, allow_nan=False)
    volumes.check(found.path, values.astype(np.float32), AFFINE)


# --- compressed sources


def compressed(values: np.ndarray, syntax: str) -> list[Dataset]:
    """Slices whose pixels are encoded without loss."""
    encode: Any = {
        J2K: lambda plane, _source: imagecodecs.jpeg2k_encode(
            plane, codecformat="j2k", reversible=True, level=0
        ),
        JPEG_LOSSLESS: lambda plane, _source: imagecodecs.ljpeg_encode(plane),
        JPEG_LS: lambda plane, _source: imagecodecs.jpegls_encode(plane),
        make.RLE: lambda plane, source: RLELosslessEncoder.encode(
            plane.tobytes(),
            rows=plane.shape[0],
            columns=plane.shape[1],
            samples_per_pixel=1,
            bits_allocated=16,
            bits_stored=16,
            pixel_representation=source.PixelRepresentation,
            photometric_interpretation="MONOCHROME2",
            number_of_frames=1,
            encoding_plugin="pydicom",
        ),
    }[syntax]
    sources = stacked(values)
    for source, plane in zip(sources, values, strict=True):
        data = encode(np.ascontiguousarray(plane), source)
        source.PixelData = make.encapsulate([[data + b"\0" * (len(data) % 2)]])
    return sources


@pytest.mark.parametrize("syntax", [J2K, JPEG_LOSSLESS, JPEG_LS, make.RLE])
def test_compressed_sources(syntax: str, tmp_path: Path) -> None:
    """J2K, JPEG Lossless, JPEG-LS and RLE give the same volume as native pixels, and name their decoder."""
    values = ramp(4, 16, 24) * 7
    native = Bench.of(tmp_path / "native", stacked(values)).one(".nii")
    bench = Bench.of(tmp_path / "out", compressed(values, syntax), syntax)
    found = bench.one(".nii")
    assert told(found)["sha256"] == told(native)["sha256"]
    assert found.receipt["decoders"][0]["name"]
    assert found.receipt["decoders"][0]["version"]
    assert "lossy_source" not in codes(found)
    volumes.check(found.path, values, AFFINE)


@pytest.mark.parametrize("damage", ["cut", "noise"])
def test_a_frame_that_cannot_be_decoded(damage: str, tmp_path: Path) -> None:
    """One frame that cannot be decoded means no volume, named by its SOPInstanceUID; nothing is filled."""
    values = ramp(4, 16, 24)
    sources = compressed(values, J2K)
    pixels = sources[2].PixelData
    if damage == "cut":
        sources[2].PixelData = make.encapsulate([[pixels[16:60]]])
    else:
        sources[2].PixelData = make.encapsulate([[b"\1\2" * 40]])
    bench = Bench.of(tmp_path / "out", sources, J2K)
    found = bench.one(".zarr")
    assert (found.status, found.refusal.code) == ("refused", "decode_failed")
    assert sources[2].SOPInstanceUID in found.refusal.problem
    assert "\n" not in found.refusal.problem
    assert bench.written() == []


def test_native_pixels_cut_off(tmp_path: Path) -> None:
    """A native frame whose object ends early means no volume."""
    bench = Bench.of(tmp_path / "out", stacked(ramp()))
    name = next(iter(bench.objects))
    bench = Bench(tmp_path / "out", {**bench.objects, name: bench.objects[name][:-12]})
    found = bench.one(".nii")
    assert found.status == "refused"
    assert found.refusal.code in ("decode_failed", "missing_slices")
    assert bench.written() == []
