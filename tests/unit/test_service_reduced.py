from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import openjpeg.utils
import pytest
from PIL import Image
from pydicom import dcmread

import indexing
import make_dicom
from dicom_series_preview.contrast import parse_contrast
from dicom_series_preview.errors import ObjectError
from dicom_series_preview.frames import FrameBytes, fetch_frames
from dicom_series_preview.headers import Contrast, LookupTable, PixelDescription
from dicom_series_preview.index import Slice
from dicom_series_preview.requests import MosaicRequest
from dicom_series_preview.service import PreviewService
from dicom_series_preview.service.reduced import decode_for_tile, tile_of, wanted_reduction
from dicom_series_preview.settings import Limits
from dicom_series_preview.storage import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dicom_series_preview.contrast import ContrastSpec

J2K, BASELINE = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.50"
LIMIT = Limits().frame_bytes
TOLERANCE = 2.0
SIDE = 256


def jpeg2000(samples: np.ndarray) -> bytes:
    """Samples as lossless JPEG 2000."""
    return bytes(
        openjpeg.utils.encode_array(
            np.ascontiguousarray(samples),
            bits_stored=samples.dtype.itemsize * 8,
            photometric_interpretation=1 if samples.ndim == 3 else 2,
        )
    )


def jpeg(samples: np.ndarray) -> bytes:
    """Samples as baseline JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def frame_of(data: bytes, uid: str, samples: np.ndarray, contrast: Contrast | None = None) -> FrameBytes:
    """A codestream as a slice to show."""
    bits = samples.dtype.itemsize * 8
    pixels = PixelDescription(
        uid,
        *samples.shape[:2],
        samples_per_pixel=3 if samples.ndim == 3 else 1,
        photometric_interpretation="RGB" if samples.ndim == 3 else "MONOCHROME2",
        bits_allocated=bits,
        bits_stored=bits,
        high_bit=bits - 1,
        pixel_representation=int(samples.dtype.kind == "i"),
    )
    item = Slice(0, "", 0, "", "", 1, 0, "Z", 0.0, None, pixels, contrast or Contrast(), None, None, None)
    return FrameBytes(item, data)


def compare(frame: FrameBytes, spec: ContrastSpec, shrink: float) -> tuple[int, float]:
    """The reduction used for a tile, and its RMS difference to the tile of the whole frame."""
    pixels = frame.slice.pixels
    size = max(1, int(pixels.columns / shrink)), max(1, int(pixels.rows / shrink))
    reduced = decode_for_tile(frame, size, (spec,), wanted_reduction(frame.slice, size), LIMIT)
    whole = decode_for_tile(frame, size, (spec,), 1, LIMIT)
    assert whole.reduction == 1
    one, other = (tile_of(decoded, frame.slice, spec, size).astype(float) for decoded in (reduced, whole))
    return reduced.reduction, float(np.sqrt(np.mean((one - other) ** 2)))


def drawn() -> Iterator[tuple[str, np.ndarray]]:
    """Hard edges between -1000 and 3000, and soft shapes, of 256 x 256 pixels or nearly so."""
    y, x = np.mgrid[:SIDE, :SIDE]
    low, high = -1000, 3000
    yield "disc", np.where((x - 120) ** 2 + (y - 133) ** 2 < 90**2, high, low)
    yield "discs", np.where((x % 64 - 32) ** 2 + (y % 64 - 32) ** 2 < 20**2, high, low)
    yield "small discs", np.where((x % 16 - 8) ** 2 + (y % 16 - 8) ** 2 < 5**2, high, low)
    for width in (3, 5, 7, 16):
        yield f"stripes of {width}", np.where((x + y) // width % 2, high, low)
        yield f"bars of {width}", np.where(x // width % 2, high, low)
    yield "checkers of 16", np.where((x // 16 + y // 16) % 2, high, low)
    yield "checkers of 10", np.where((x // 10 + y // 10) % 2, high, low)
    yield "thin lines", np.where((x % 40 < 1) | (y % 33 < 2), high, low)
    yield "frame", np.where((x < 4) | (y < 4) | (x > 250) | (y > 251), high, low)
    yield "zone plate", 1000 + 2000 * np.cos((x**2 + y**2) / 600)
    yield "waves", 500 * np.sin(x / 15) * np.cos(y / 11)
    yield "ramp", x * 8 + y * 6 - 1000
    yield "odd ramp", (x * 8 + y * 6 - 1000)[:253, :247]


def _random(seed: int) -> np.ndarray:
    """Blobs of random sizes and values under stripes of a random direction, with some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:290, :270]
    angle, period = rng.uniform(0, np.pi), rng.uniform(4, 60)
    values = np.where(
        (x * np.cos(angle) + y * np.sin(angle)) / period % 2 < 1, -1000.0, rng.uniform(-1000, 3000)
    )
    for _ in range(10):
        across, down = (x - rng.uniform(0, 270)) / rng.uniform(0.3, 2), y - rng.uniform(0, 290)
        values[np.hypot(across, down) < rng.uniform(3, 60)] = rng.uniform(-1000, 2500)
    return values + rng.normal(0, rng.choice([0, 10, 40]), values.shape)


def drawn_at_random() -> Iterator[tuple[str, np.ndarray]]:
    """Drawings that nothing was tuned on."""
    yield from ((f"seed {seed}", _random(seed)) for seed in range(100, 112))


DRAWN = {name: np.rint(values).astype(np.int16) for name, values in (*drawn(), *drawn_at_random())}
CONTRASTS = ("4100/1000", "2500/500", "lung", "abdomen", "brain")


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("contrast", CONTRASTS)
def test_a_reduced_tile_is_the_whole_frames(name, contrast):
    """A tile from a reduced frame lies within 2 grey levels (RMS) of that from the whole frame."""
    frame = frame_of(jpeg2000(DRAWN[name]), J2K, DRAWN[name])
    for shrink in (4, 5.3, 8, 16):
        _, error = compare(frame, parse_contrast(contrast), shrink)
        assert error <= TOLERANCE


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("name", DRAWN)
def test_a_reduced_tile_of_a_jpeg_is_the_whole_frames(name, colour):
    """The same holds for JPEG, in grey and in colour."""
    grey = np.clip((DRAWN[name] + 1000) // 16, 0, 255).astype(np.uint8)
    samples = np.stack([grey, np.roll(grey, 9, 1), 255 - grey], axis=-1) if colour else grey
    frame = frame_of(jpeg(samples), BASELINE, samples)
    for shrink in (4, 5.3, 8, 16):
        for contrast in ("256/128", "60/100"):
            _, error = compare(frame, parse_contrast(contrast), shrink)
            assert error <= TOLERANCE


@pytest.mark.parametrize(
    ("shrink", "reduction"), [(1, 1), (3.9, 1), (4, 2), (15, 2), (16, 4), (60, 4), (75, 8), (300, 8)]
)
def test_the_tile_leaves_as_many_reduced_pixels_as_the_reduction(shrink, reduction):
    """A reduction by n is tried where n reduced pixels are left for each of the tile, in both directions."""
    samples = np.zeros((1200, 2400), np.int16)
    item = frame_of(b"", J2K, samples).slice
    assert wanted_reduction(item, (round(2400 / shrink), round(1200 / shrink))) == reduction
    assert wanted_reduction(item, (int(2400 / shrink), 1200)) == 1


def test_soft_pictures_are_reduced_and_narrow_windows_are_not():
    """Where the window covers the values, less is decoded; where it clips most of them, all of it is."""
    waves = frame_of(jpeg2000(DRAWN["waves"]), J2K, DRAWN["waves"])
    assert compare(waves, parse_contrast("2500/0"), 4)[0] == 2
    assert compare(waves, parse_contrast("2500/0"), 16)[0] == 4
    assert compare(waves, parse_contrast("30/0"), 4)[0] == 1


@pytest.mark.parametrize(
    "contrast",
    [
        Contrast(pixel_padding_value=-2000),
        Contrast(pixel_padding_value=-2000, pixel_padding_range_limit=-1500),
        Contrast(modality_lut=LookupTable(2, 0, 16, b"\0\0\1\0")),
    ],
)
def test_padding_and_lookup_tables_need_whole_frames(contrast):
    """Declared padding would be averaged into the picture, so that its mask would miss it: all is decoded."""
    item = frame_of(b"", J2K, np.zeros((512, 512), np.int16), contrast).slice
    assert wanted_reduction(item, (64, 64)) == 1
    assert wanted_reduction(replace(item, contrast=Contrast()), (64, 64)) == 2


def test_palettes_and_bits_need_whole_frames():
    """Neither indices into a palette nor single bits have means."""
    item = frame_of(b"", J2K, np.zeros((512, 512), np.uint8)).slice
    for changes in ({"photometric_interpretation": "PALETTE COLOR"}, {"bits_allocated": 1}):
        assert wanted_reduction(replace(item, pixels=replace(item.pixels, **changes)), (64, 64)) == 1


def encapsulated(samples: np.ndarray, **elements) -> dict[str, bytes]:
    """A series of one lossless JPEG 2000 slice."""
    data = make_dicom.image(
        **{
            "Rows": samples.shape[0],
            "Columns": samples.shape[1],
            "PixelSpacing": [1.0, 1.0],
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 1,
            "RescaleIntercept": 0.0,
            "PixelData": make_dicom.encapsulate([[jpeg2000(samples)]]),
            **elements,
        }
    )
    return {"S/1.dcm": make_dicom.encode(data, J2K)}


def mosaic(objects: dict[str, bytes], **options: str) -> tuple[np.ndarray, PreviewService]:
    """The picture of a series of one slice, 64 pixels wide."""
    service = PreviewService(MemoryStorage(objects), None, Limits())
    given = {
        "image_width": ["64"],
        "tile_width": ["1"],
        "quality": ["100"],
        **{k: [v] for k, v in options.items()},
    }
    rendered = service.mosaic(MosaicRequest.from_strings("S", "a.jpg", given))
    return np.asarray(Image.open(io.BytesIO(rendered.data))).astype(float), service


@pytest.mark.parametrize("width", [2500, 400])
def test_the_service_shows_what_full_resolution_shows(width):
    """Through index, plan and renderer, a large slice in a small tile looks as its uncompressed twin does."""
    samples = DRAWN["waves"]
    reduced, _ = mosaic(encapsulated(samples), contrast=f"{width}/0")
    twin = encapsulated(samples)
    native = make_dicom.image(
        Rows=SIDE,
        Columns=SIDE,
        PixelSpacing=[1.0, 1.0],
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=1,
        RescaleIntercept=0.0,
        PixelData=samples.astype("<i2").tobytes(),
    )
    twin = {"S/1.dcm": make_dicom.encode(native)}
    whole, _ = mosaic(twin, contrast=f"{width}/0")
    assert np.sqrt(np.mean((reduced - whole) ** 2)) <= TOLERANCE


def test_statistics_are_of_whole_frames():
    """Where a contrast pools values, every grey frame of the picture is decoded whole."""
    objects = encapsulated(DRAWN["waves"], WindowCenter=0, WindowWidth=2500)
    service = PreviewService(MemoryStorage(objects), None, Limits())
    given = {"image_width": ["64"], "tile_width": ["1"]}
    for contrast, reduction in (("auto", 1), ("embedded", 2), ("lung", 2)):
        plan = service.plan(MosaicRequest.from_strings("S", "a.jpg", {**given, "contrast": [contrast]}))
        assert list(plan.reductions().values()) == [reduction]


def real_frames(folder: Path) -> Iterator[tuple[str, FrameBytes]]:
    """Frame 1 of every real compressed object; and of every series some slices, encoded anew."""
    paths = sorted(
        path for part in ("single", "malformed") for path in (folder / part).rglob("*") if path.is_file()
    )
    for path in paths:
        try:
            index = indexing.index_of({path.name: path.read_bytes()})
        except ObjectError:
            continue
        if not index.stacks:
            continue
        item = index.slices([int(index.stacks[0][0])])[0]
        if item.pixels.transfer_syntax_uid.startswith("1.2.840.10008.1.2.4."):
            storage = MemoryStorage({f"series/{path.name}": path.read_bytes()})
            frames = fetch_frames(storage, "series", [replace(item, object_version="")])
            yield from ((path.name, frame) for frame in frames if frame.error is None)
    for series in sorted((folder / "series").iterdir()):
        files = sorted(series.iterdir())
        for path in files[1 :: max(1, len(files) // 2)]:
            dataset = dcmread(path, force=True)
            rows, columns = dataset.get("Rows", 0), dataset.get("Columns", 0)
            data = dataset.get("PixelData", b"")
            # OpenJPEG's encoder wants 32 pixels for its 6 resolutions.
            if min(rows, columns) < 32 or len(data) != rows * columns * 2:
                continue
            kind = "i" if dataset.PixelRepresentation else "u"
            samples = np.frombuffer(data, f"<{kind}2").reshape(rows, columns)
            rescale = Contrast(
                float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
            )
            yield series.name, frame_of(jpeg2000(samples), J2K, samples, rescale)


@pytest.mark.real_data
def test_reduced_tiles_of_real_slices_are_the_whole_frames(real_data):
    """Real slices, whatever the window: within 2 grey levels of the tile of the whole frame."""
    reduced = 0
    for name, frame in real_frames(real_data):
        item = frame.slice
        windows = [f"{w.width}/{w.center}" for w in item.contrast.windows if w.width > 0]
        for contrast in (*windows[:1], "lung", "brain", "256/128"):
            for shrink in (4, 8, 16):
                if min(item.pixels.rows, item.pixels.columns) < 8 * shrink:
                    continue
                try:
                    reduction, error = compare(frame, parse_contrast(contrast), shrink)
                except ObjectError:
                    break
                reduced += reduction > 1
                assert error <= TOLERANCE, (name, contrast, shrink, reduction)
    assert reduced >= 100
