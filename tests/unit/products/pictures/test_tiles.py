import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import doubles
import make_dicom
from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.base.errors import AccessDeniedError, DecodeError, ObjectChangedError
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.pixels.contrast.resolve import COLOUR
from dicom_series_preview.pixels.frames import FetchOptions
from dicom_series_preview.products.pictures.plan import Plan
from dicom_series_preview.products.pictures.requests import MosaicRequest
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.products.pictures.tiles import paint
from dicom_series_preview.sources.storage.memory import MemoryStorage

DEFLATED_FRAMES = b"1.2.840.10008.1.2.8.1\0"
MIB = 2**20


def deflated(samples: np.ndarray) -> bytes:
    """A frame as Deflated Image Frame Compression has it."""
    deflater = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    return deflater.compress(samples.tobytes()) + deflater.flush()


def series(frames: list[np.ndarray], *, native: bool = False, **elements: Any) -> dict[str, bytes]:
    """Slices of 16 bits, the first one the most superior."""
    objects = {}
    for number, samples in enumerate(frames, start=1):
        pixels = samples.tobytes() if native else make_dicom.encapsulate([[deflated(samples)]])
        made = make_dicom.image(
            number,
            **{
                "ImagePositionPatient": [0.0, 0.0, float(-number)],
                "Rows": samples.shape[0],
                "Columns": samples.shape[1],
                "PixelSpacing": [1.0, 1.0],
                "BitsStored": 16,
                "HighBit": 15,
                "PixelData": pixels,
                **elements,
            },
        )
        # pydicom does not know the transfer syntax yet, and writes another of as many bytes.
        encoded = make_dicom.encode(made, make_dicom.EXPLICIT if native else make_dicom.JPEG)
        objects[f"S/{number:03}.dcm"] = encoded.replace(make_dicom.JPEG.encode(), DEFLATED_FRAMES)
    return objects


def plan_of(storage: Any, contrast: str, columns: int, rows: int) -> Plan:
    """A mosaic of small tiles, by an index that is there already: nothing has come with the headers."""
    given = {"contrast": contrast, "tile_width": columns, "tile_height": rows, "image_width": 16}
    request = MosaicRequest.from_strings("S", "a.jpg", {k: [str(v)] for k, v in given.items()})
    service = PreviewService(storage, IndexCache(MemoryStorage()), Limits())
    service.plan(request)
    return service.plan(request)


def peak_of(work: Callable[[], object]) -> int:
    """The most bytes that were allocated at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def ramps(count: int, side: int) -> list[np.ndarray]:
    """Frames that differ."""
    ramp = np.add.outer(np.arange(side), np.arange(side)).astype(np.uint16)
    return [ramp + 10 * number for number in range(count)]


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("contrast", ["lung", "auto"])
def test_memory_does_not_grow_with_the_tiles(contrast, workers):
    """A mosaic of 200 slices takes a few frames for each worker more than one of 10: all are dropped."""
    storage = MemoryStorage(series(ramps(200, 512)))
    few, many = plan_of(storage, contrast, 2, 5), plan_of(storage, contrast, 20, 10)
    assert (len(few.slices), len(many.slices)) == (10, 200)
    frame = 2 * 512**2
    peaks = [
        peak_of(lambda plan=plan: paint(storage, plan, FetchOptions(), MIB, workers)) for plan in (few, many)
    ]
    assert peaks[1] < (24 + 8 * workers) * frame < 200 * frame
    assert peaks[1] - peaks[0] < 5 * workers * frame


def picture(painted: dict[int, Any]) -> dict[int, list[Any]]:
    """Cells as they can be compared."""
    return {
        row: [
            (None if cell.tile is None else cell.tile.tolist(), cell.applied, str(cell.error))
            for cell in one.cells
        ]
        for row, one in painted.items()
    }


@pytest.mark.parametrize("native", [False, True])
def test_frames_beyond_the_budget_are_fetched_again_and_look_the_same(native):
    """Whether frames are kept decoded, kept as they came, or fetched again, the picture is the same."""
    storage = doubles.CountingStorage(MemoryStorage(series(ramps(12, 32), native=native)))
    plan = plan_of(storage, "auto", 4, 3)
    requests, pictures = [], []
    for room in (MIB, 6 * 32**2 * 2, 0):
        storage.reset()
        pictures.append(picture(paint(storage, plan, FetchOptions(), waiting_bytes=room)))
        requests.append(len(storage.ranges))
    assert pictures[0] == pictures[1] == pictures[2]
    # Deflated ramps are small: all of them fit where six decoded ones do.
    assert requests == ([12, 18, 24] if native else [12, 12, 24])
    assert all(wanted.version for wanted in storage.ranges)


@pytest.mark.parametrize("contrast", ["lung", "auto"])
@pytest.mark.parametrize("room", [MIB, 1500, 300, 0])
@pytest.mark.parametrize("native", [False, True])
def test_threads_and_the_order_of_answers_change_nothing(contrast, room, native):
    """However many frames are decoded at once, and whichever comes first, the cells are the same."""
    objects = series(ramps(24, 32), native=native)
    broken = objects["S/004.dcm"]
    objects["S/004.dcm"] = broken[:-60] if native else broken[:-60] + bytes(52) + broken[-8:]
    inner = MemoryStorage(objects)
    denied = {"S/007.dcm": AccessDeniedError("memory://objects/S/007.dcm", "no")}
    storage = doubles.FailingStorage(inner, denied)
    plan = plan_of(inner, contrast, 6, 4)
    alone, together = (paint(storage, plan, FetchOptions(), room, workers) for workers in (1, 4))
    backwards = paint(doubles.Backwards(storage), plan, FetchOptions(), room)
    assert picture(alone) == picture(together) == picture(backwards)
    errors = [type(together[item.row].cells[0].error) for item in plan.slices]
    assert errors == [{3: DecodeError, 6: AccessDeniedError}.get(number, type(None)) for number in range(24)]


@pytest.mark.parametrize("native", [False, True])
def test_an_object_that_changes_between_the_passes_is_noticed(native):
    """What is fetched again must be the version that was pooled."""
    objects = series(ramps(3, 16), native=native)
    inner = MemoryStorage(objects)
    other = series(ramps(4, 16)[1:], native=native)["S/002.dcm"]
    changing = doubles.ChangingStorage(inner, {"S/002.dcm": lambda storage: storage.put("S/002.dcm", other)})
    plan = plan_of(inner, "auto", 3, 1)
    with pytest.raises(ObjectChangedError):
        paint(changing, plan, FetchOptions(), waiting_bytes=0)


def test_colour_among_grey_does_not_wait_for_statistics():
    """A palette's slices are painted at once, and stay out of the statistics of the others."""
    palette = {
        f"{colour}PaletteColorLookupTable{part}": value
        for colour in ("Red", "Green", "Blue")
        for part, value in (("Descriptor", [256, 0, 8]), ("Data", bytes(range(256))))
    }
    grey = series([np.full((16, 16), value, np.uint16) for value in (0, 1000)], native=True)
    coloured = series(
        [np.full((16, 16), 77, np.uint16)] * 3,
        native=True,
        PhotometricInterpretation="PALETTE COLOR",
        **palette,
    )
    storage = MemoryStorage({**grey, "S/003.dcm": coloured["S/003.dcm"]})
    plan = plan_of(storage, "auto", 3, 1)
    cells = [paint(storage, plan, FetchOptions())[item.row].cells[0] for item in plan.slices]
    assert [cell.tile[8, 8].tolist() for cell in cells] == [0, 255, [77, 77, 77]]
    assert cells[2].applied == COLOUR
    assert cells[0].applied.width == 1000.0
