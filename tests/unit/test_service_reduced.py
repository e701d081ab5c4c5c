from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import openjpeg.utils
import pytest
from PIL import Image
from pydicom import dcmread

import doubles
import make_dicom
from dicom_series_preview.decode import decode_frame
from dicom_series_preview.errors import DecodeError
from dicom_series_preview.frames import Terms
from dicom_series_preview.headers import Contrast, LookupTable, PixelDescription
from dicom_series_preview.index import Slice
from dicom_series_preview.requests import ContrastRequest, MosaicRequest
from dicom_series_preview.series import IndexCache
from dicom_series_preview.service import PreviewService
from dicom_series_preview.service.reduced import Attempt, Verdict, judge, reduce_once_more, trial_of
from dicom_series_preview.service.tiles import paint
from dicom_series_preview.settings import Limits
from dicom_series_preview.storage import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dicom_series_preview.service import Plan
    from dicom_series_preview.service.tiles import Cells
    from dicom_series_preview.storage import Storage

J2K, BASELINE = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.50"
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


def unjpeg(codestream: bytes) -> np.ndarray:
    """What a JPEG decodes to, its components as they are."""
    image = Image.open(io.BytesIO(codestream))
    image.draft(None, None)
    return np.asarray(image)


class Bench:
    """A series, compressed and as its native twin.

    Args:
        frames: The samples of each slice.
        syntax: How they are compressed.
        elements: What else their headers have.
    """

    def __init__(self, frames: Sequence[np.ndarray], syntax: str = J2K, **elements: Any) -> None:
        compressed, native = {}, {}
        for number, samples in enumerate(frames):
            data = jpeg(samples) if syntax == BASELINE else jpeg2000(samples)
            whole = unjpeg(data) if syntax == BASELINE else samples
            for objects, pixels, uid in (
                (compressed, make_dicom.encapsulate([[data]]), syntax),
                (native, whole.tobytes(), make_dicom.EXPLICIT),
            ):
                made = make_dicom.image(number, **{**described(samples), "PixelData": pixels, **elements})
                objects[f"S/{number:03}.dcm"] = make_dicom.encode(made, uid)
        self.compressed, self.native = served(compressed), served(native)

    def compare(self, contrast: str, width: int) -> tuple[list[int], list[float]]:
        """For each slice the reduction its tile was made with, and its RMS difference to the twin's."""
        return compare(self.compressed, self.native, contrast, width)


def described(samples: np.ndarray) -> dict[str, Any]:
    """The elements that describe samples."""
    bits = samples.dtype.itemsize * 8
    colour = {"PlanarConfiguration": 0} if samples.ndim == 3 else {}
    return {
        "Rows": samples.shape[0],
        "Columns": samples.shape[1],
        "PixelSpacing": [1.0, 1.0],
        "SamplesPerPixel": 3 if samples.ndim == 3 else 1,
        "PhotometricInterpretation": "RGB" if samples.ndim == 3 else "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(samples.dtype.kind == "i"),
        "RescaleIntercept": 0.0,
        **colour,
    }


def served(objects: dict[str, bytes]) -> PreviewService:
    """A service before some objects."""
    return PreviewService(MemoryStorage(objects), IndexCache(MemoryStorage()), Limits())


def plan_of(service: PreviewService, contrast: str, width: int, tiles: int = 12) -> Plan:
    """A mosaic of all slices."""
    given = {"contrast": contrast, "image_width": width, "tile_width": tiles, "tile_height": 1}
    return service.plan(MosaicRequest.from_strings("S", "a.jpg", {k: [str(v)] for k, v in given.items()}))


def painted(service: PreviewService, plan: Plan, storage: Storage | None = None) -> list[Cells]:
    """The cells of each slice, in order."""
    cells = paint(storage or service.storage, plan, Terms())
    return [cells[item.row].cells for item in plan.slices]


def compare(
    one: PreviewService, other: PreviewService, contrast: str, width: int
) -> tuple[list[int], list[float]]:
    """See `Bench.compare`."""
    tested, expected = (painted(service, plan_of(service, contrast, width)) for service in (one, other))
    assert len(tested) == len(expected)
    reductions = [cell.reduction for (cell,) in tested]
    assert {cell.reduction for (cell,) in expected} == {1}
    return reductions, [rms(a.tile, b.tile) for (a,), (b,) in zip(tested, expected, strict=True)]


def rms(one: np.ndarray, other: np.ndarray) -> float:
    """How much two tiles differ."""
    return float(np.sqrt(np.mean(np.subtract(one, other, dtype=np.float64) ** 2)))


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


def moved(samples: np.ndarray) -> list[np.ndarray]:
    """Eight slices that show the same, a little elsewhere."""
    return [np.roll(samples, (5 * n, 3 * n), (0, 1)) for n in range(8)]


@pytest.mark.parametrize("name", DRAWN)
def test_a_reduced_tile_is_the_whole_frames(name):
    """A tile from a reduced frame lies within 2 grey levels (RMS) of that from the whole frame."""
    bench = Bench(moved(DRAWN[name]))
    for contrast in CONTRASTS:
        for width in (64, 32):
            _, errors = bench.compare(contrast, width)
            assert max(errors) <= TOLERANCE


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("name", DRAWN)
def test_a_reduced_tile_of_a_jpeg_is_the_whole_frames(name, colour):
    """The same holds for JPEG, in grey and in colour."""
    grey = np.clip((DRAWN[name] + 1000) // 16, 0, 255).astype(np.uint8)
    samples = np.stack([grey, np.roll(grey, 9, 1), 255 - grey], axis=-1) if colour else grey
    bench = Bench(moved(samples), BASELINE)
    for contrast in ("256/128", "60/100"):
        for width in (64, 32):
            _, errors = bench.compare(contrast, width)
            # Two libraries decode chroma of half the size to other values by up to 15 levels here and there.
            assert max(errors) <= TOLERANCE


def test_soft_pictures_are_reduced_and_narrow_windows_are_not():
    """Where the window covers the values, less is decoded; where it clips most of them, all of it is."""
    bench = Bench(moved(DRAWN["waves"]))
    assert bench.compare("2500/0", 64)[0].count(2) == 7
    assert bench.compare("2500/0", 32)[0].count(4) == 7
    assert bench.compare("30/0", 64)[0] == [1] * 8


def test_other_slices_than_the_probe_are_decoded_whole():
    """Noise that a window hides makes a probe; slices of which it shows more are not taken for the like."""
    rng = np.random.default_rng(3)
    noise = [(500 + rng.normal(0, 60, (SIDE, SIDE))).astype(np.int16) for _ in range(8)]
    edges = [image // 8 - 800 for image in moved(DRAWN["checkers of 10"])[:4]]
    reductions, errors = Bench([*noise, *edges]).compare("400/-800", 64)
    # The first slice is the one with the highest number.
    assert reductions[:4] == [1] * 4
    assert reductions[4:].count(2) == 7
    assert max(errors) <= TOLERANCE


def test_each_contrast_counts():
    """A slice that is shown under several contrasts is reduced where all of them allow it."""
    service = Bench(moved(DRAWN["waves"])).compressed
    for contrasts, reductions in ((["2500/0", "3000/100"], {1, 2}), (["2500/0", "30/0"], {1})):
        given = {"contrast": contrasts, "image_width": ["64"], "tile_height": ["8"]}
        plan = service.plan(ContrastRequest.from_strings("S", "a.jpg", given))
        cells = painted(service, plan)
        assert {cell.reduction for pair in cells for cell in pair} == reductions
        assert all(one.reduction == other.reduction for one, other in cells)


def described_slice(row: int = 0, length: int = 0, uid: str = J2K, **changes: Any) -> Slice:
    """A slice of 512 x 1024 samples."""
    pixels = PixelDescription(uid, 512, 1024, bits_allocated=16, bits_stored=16, high_bit=15)
    pixels = replace(pixels, **{k: v for k, v in changes.items() if k != "contrast"})
    contrast = changes.get("contrast", Contrast())
    return Slice(row, "", length, "", "", 1, 0, "Z", 0.0, None, pixels, contrast, None, None, None)


def eight(**changes: Any) -> list[Slice]:
    """Eight of them."""
    return [described_slice(row, 1000 + row, **changes) for row in range(8)]


@pytest.mark.parametrize(
    ("width", "reductions"),
    [(1024, None), (300, None), (256, (2,)), (129, (2,)), (128, (4, 2)), (70, (4, 2)), (64, (8, 4, 2))],
)
def test_the_tile_leaves_two_reduced_pixels_for_each_of_its_own(width, reductions):
    """A reduction is tried where at least 2 x 2 reduced pixels are left for each pixel of the tile."""
    trial = trial_of(eight(), lambda _item: (width, width // 2))
    assert (trial.reductions if trial else None) == reductions


def test_the_probe_has_the_longest_codestream():
    """The probe is the slice with most to lose, the first one of those of equal length."""
    slices = [described_slice(row, length) for row, length in enumerate((5, 9, 7, 9, 1, 2, 3, 4))]
    trial = trial_of(slices, lambda _item: (128, 64))
    assert trial.probe.row == 1
    assert trial.rows == frozenset(range(8))


@pytest.mark.parametrize(
    "changes",
    [
        {"contrast": Contrast(pixel_padding_value=-2000)},
        {"contrast": Contrast(modality_lut=LookupTable(2, 0, 16, b"\0\0\1\0"))},
        {"photometric_interpretation": "PALETTE COLOR"},
        {"bits_allocated": 1},
        {"uid": make_dicom.EXPLICIT},
        {"uid": "1.2.840.10008.1.2.4.70"},
        {"uid": "1.2.3"},
    ],
)
def test_what_has_no_means_or_no_smaller_form_is_not_tried(changes):
    """Padding would be averaged into the picture, LUTs and palettes mean nothing on average, and so on."""
    assert trial_of(eight(**changes), lambda _item: (128, 64)) is None
    trial = trial_of([*eight(), described_slice(9, 10**6, **changes)], lambda _item: (128, 64))
    assert (trial.probe.row, trial.rows) == (7, frozenset(range(8)))


def test_few_slices_and_small_tiles_are_not_tried():
    """A try of few slices costs more than it may gain; a tile of few pixels tells nothing of the others."""
    assert trial_of(eight()[:7], lambda _item: (128, 64)) is None
    assert trial_of(eight(), lambda _item: (62, 31)) is None
    assert trial_of(eight(), lambda _item: (64, 32)) is not None


def test_half_a_grey_jpeg_is_not_tried():
    """Halving a grey JPEG spares no work, so that only smaller parts are tried."""
    trial = trial_of(eight(uid=BASELINE, bits_allocated=8), lambda _item: (64, 32))
    assert trial.reductions == (8, 4)


TILE = np.tile(np.arange(0, 200, 10, np.uint8), (20, 1))


def attempt(reduction: int, error: int, once_more: int) -> Attempt:
    """A reduction that makes a tile so much brighter, and one more that makes it so much more so."""
    reduced = TILE + np.uint8(error)
    return Attempt(reduction, [reduced], [reduced + np.uint8(once_more)])


def test_the_largest_reduction_that_passes_is_chosen():
    """Reductions are tried one after the other, until one leaves every tile what it is."""
    asked = []

    def tried(reduction: int) -> Attempt:
        asked.append(reduction)
        return attempt(reduction, {8: 5, 4: 2, 2: 1}[reduction], 4)

    assert judge((8, 4, 2), [TILE], tried) == Verdict(2, (0.25,))
    assert asked == [8, 4, 2]
    assert judge((8, 4), [TILE], tried) is None
    pair = Attempt(2, [TILE, TILE + np.uint8(2)], [TILE, TILE])
    assert judge((2,), [TILE, TILE], lambda _reduction: pair) is None


def test_a_codestream_without_a_reduced_form_ends_the_trial():
    """Where the whole frame comes instead of a reduced one, nothing more is tried."""
    assert judge((8, 4, 2), [TILE], lambda _reduction: Attempt(1, (), ())) is None


@pytest.mark.parametrize(
    ("error", "once_more", "part"), [(1, 4, 0.25), (0, 4, 0.15), (1, 20, 0.15), (0, 0, 0.15)]
)
def test_the_probe_tells_what_part_of_one_more_reduction_the_first_has_done(error, once_more, part):
    """Of what one more reduction does, at least a part counts, as nothing is ever lost without a trace."""
    assert judge((2,), [TILE], lambda reduction: attempt(reduction, error, once_more)).parts == (part,)


def test_a_verdict_holds_for_slices_that_lose_no_more():
    """A slice that one more reduction changes far more than the probe is not taken for the like of it."""
    verdict = Verdict(2, (0.25,))
    assert verdict.holds(attempt(2, 0, 6))
    assert not verdict.holds(attempt(2, 0, 7))
    assert not verdict.holds(attempt(4, 0, 1))
    assert not verdict.holds(Attempt(2, [], []))
    assert not Verdict(2, (0.25, 0.25)).holds(Attempt(2, [TILE, TILE], [TILE, TILE + np.uint8(7)]))


@pytest.mark.parametrize("shape", [(64, 64), (65, 70), (71, 65), (64, 66, 3)])
def test_reducing_once_more_is_what_the_codestream_would_give(shape):
    """One more reduction of reduced samples is the next one of the codestream, save for rounding."""
    rng = np.random.default_rng(8)
    samples = np.clip(128 + np.cumsum(rng.normal(0, 5, shape), axis=1), 0, 255).astype(np.uint8)
    described = {"bits_allocated": 8, "bits_stored": 8, "high_bit": 7}
    if samples.ndim == 3:
        described |= {"samples_per_pixel": 3, "photometric_interpretation": "YBR_FULL"}
    pixels = replace(PixelDescription(J2K, *shape[:2]), **described)
    options = {"bits_stored": 8, "photometric_interpretation": 3 if samples.ndim == 3 else 2}
    data = bytes(openjpeg.utils.encode_array(samples, **options))
    two, four = (decode_frame(data, pixels, reduction=reduction) for reduction in (2, 4))
    once_more = reduce_once_more(two)
    assert (once_more.reduction, once_more.offset) == (four.reduction, four.offset)
    assert once_more.samples.dtype == four.samples.dtype
    assert once_more.samples.shape == four.samples.shape
    # Rows and columns are each rounded there.
    assert np.abs(once_more.samples.astype(int) - four.samples).max() <= 2


class Backwards(doubles.Wrapper):
    """Answers in the opposite order."""

    def fetch(self, ranges: Any) -> Any:
        """All of them, the last one first."""
        yield from reversed(list(self.inner.fetch(list(ranges))))


def test_the_order_of_answers_decides_nothing():
    """Whether the probe comes first or last, the same frames are reduced."""
    service = Bench(moved(DRAWN["waves"])).compressed
    plan = plan_of(service, "2500/0", 64)
    forwards, backwards = painted(service, plan), painted(service, plan, Backwards(service.storage))
    for (one,), (other,) in zip(forwards, backwards, strict=True):
        assert one.reduction == other.reduction
        assert np.array_equal(one.tile, other.tile)


def test_without_a_probe_all_frames_are_decoded_whole():
    """Where the probe cannot be decoded, nothing is known, and nothing is reduced."""
    rng = np.random.default_rng(5)
    noisy = (DRAWN["waves"] + rng.normal(0, 3, (SIDE, SIDE))).astype(np.int16)
    service = Bench([noisy, *moved(DRAWN["waves"])]).compressed
    plan = plan_of(service, "2500/0", 64)
    assert [cell.reduction for (cell,) in painted(service, plan)] == [2] * 8 + [1]
    probe = service.storage.get("S/000.dcm").data
    # Its codestream begins with another marker.
    at = probe.index(b"\xff\x4f\xff\x51")
    service.storage.put("S/000.dcm", probe[:at] + b"\0" + probe[at + 1 :])
    plan = plan_of(service, "2500/0", 64)
    cells = painted(service, plan)
    assert [cell.reduction for (cell,) in cells] == [1] * 9
    assert isinstance(cells[-1][0].error, DecodeError)
    assert all(cell.error is None for (cell,) in cells[:-1])


def test_each_frame_is_fetched_once():
    """A trial costs no request and no byte."""
    service = Bench(moved(DRAWN["waves"])).compressed
    plan_of(service, "2500/0", 64)
    plan = plan_of(service, "2500/0", 64)
    storage = doubles.CountingStorage(service.storage)
    painted(service, plan, storage)
    assert sorted(wanted.path for wanted in storage.ranges) == [f"S/{n:03}.dcm" for n in range(8)]
    assert storage.received == sum(item.location.length for item in plan.slices)


def test_statistics_are_of_whole_frames():
    """Where a contrast pools values, every grey frame of the picture is decoded whole."""
    service = Bench(moved(DRAWN["waves"]), WindowCenter=0, WindowWidth=2500).compressed
    for contrast, reductions in (("auto", {1}), ("embedded", {1, 2})):
        cells = painted(service, plan_of(service, contrast, 64))
        assert {cell.reduction for (cell,) in cells} == reductions


def real_series(folder: Any) -> Iterator[tuple[str, PreviewService, PreviewService]]:
    """Up to twelve slices of each series of 16 bits, encoded anew, and their native twins."""
    for path in sorted((folder / "series").iterdir()):
        files = sorted(path.iterdir())
        compressed, native = {}, {}
        for file in files[:: max(1, len(files) // 12)]:
            dataset = dcmread(file, force=True)
            rows, columns = dataset.get("Rows", 0), dataset.get("Columns", 0)
            data = dataset.get("PixelData", b"")
            if min(rows, columns) < 128 or len(data) != rows * columns * 2:
                continue
            kind = "i" if dataset.PixelRepresentation else "u"
            samples = np.frombuffer(data, f"<{kind}2").reshape(rows, columns)
            for objects, pixels, uid in (
                (compressed, make_dicom.encapsulate([[jpeg2000(samples)]]), J2K),
                (native, data, make_dicom.EXPLICIT),
            ):
                given = {
                    "RescaleSlope": float(dataset.get("RescaleSlope", 1)),
                    "RescaleIntercept": float(dataset.get("RescaleIntercept", 0)),
                    "WindowCenter": dataset.get("WindowCenter"),
                    "WindowWidth": dataset.get("WindowWidth"),
                    "ImageType": list(dataset.ImageType),
                    "PixelData": pixels,
                }
                made = make_dicom.image(len(objects), **{**described(samples), **given})
                objects[f"S/{file.name}"] = make_dicom.encode(made, uid)
        if compressed:
            yield path.name, served(compressed), served(native)


@pytest.mark.real_data
def test_reduced_tiles_of_real_slices_are_the_whole_frames(real_data):
    """Real slices, whatever the window: within 2 grey levels of the tile of the whole frame."""
    reduced = 0
    for name, compressed, native in real_series(real_data):
        columns = plan_of(native, "256/128", 32).slices[0].pixels.columns
        for contrast in ("embedded", "lung", "bone", "abdomen", "1000/0", "400/-800"):
            for shrink in (4, 5.3, 8):
                if columns / shrink < 32:
                    continue
                reductions, errors = compare(compressed, native, contrast, int(columns / shrink))
                reduced += sum(reduction > 1 for reduction in reductions)
                assert max(errors) <= TOLERANCE, (name, contrast, shrink)
    assert reduced >= 500
