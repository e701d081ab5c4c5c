from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import openjpeg.utils
import pytest

import doubles
import make_dicom
from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.pixels.frames import FetchOptions
from dicom_series_preview.products.pictures.plan import Plan
from dicom_series_preview.products.pictures.requests import MosaicRequest
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.products.pictures.tiles import Painted, paint
from dicom_series_preview.sources.storage.base import Storage
from dicom_series_preview.sources.storage.memory import MemoryStorage

SIDE, SLICES = 256, 9
CODECS: dict[str, Callable[[np.ndarray], Any]] = {
    "1.2.840.10008.1.2.4.90": lambda samples: openjpeg.utils.encode_array(
        samples, bits_stored=16, photometric_interpretation=2
    ),
    "1.2.840.10008.1.2.4.80": lambda samples: imagecodecs.jpegls_encode(samples.view(np.uint16)),
}


def slices() -> list[np.ndarray]:
    """Waves that move from slice to slice, with a little noise."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    rng = np.random.default_rng(0)
    return [
        (900 * np.sin((rows + 7 * n) / 23) * np.cos(columns / 31) + rng.normal(0, 20, (SIDE, SIDE))).astype(
            np.int16
        )
        for n in range(SLICES)
    ]


def series(transfer_syntax: str) -> PreviewService:
    """A service before those slices."""
    encode = CODECS.get(transfer_syntax)
    objects = {}
    for number, samples in enumerate(slices()):
        data = samples.tobytes() if encode is None else make_dicom.encapsulate([[bytes(encode(samples))]])
        made = make_dicom.image(
            number,
            Rows=SIDE,
            Columns=SIDE,
            PixelSpacing=[1.0, 1.0],
            BitsStored=16,
            HighBit=15,
            PixelRepresentation=1,
            RescaleIntercept=0.0,
            PixelData=data,
        )
        objects[f"S/{number:03}.dcm"] = make_dicom.encode(made, transfer_syntax)
    return PreviewService(MemoryStorage(objects), IndexCache(MemoryStorage()), Limits())


def plan_of(service: PreviewService, contrast: str) -> Plan:
    """A mosaic of all slices in tiles a quarter as wide."""
    given = {"contrast": contrast, "image_width": SIDE // 4, "tile_width": SLICES, "tile_height": 1}
    return service.plan(MosaicRequest.from_strings("S", "a.jpg", {k: [str(v)] for k, v in given.items()}))


def painted(service: PreviewService, plan: Plan, storage: Storage | None = None) -> list[Painted]:
    """Its slices in order."""
    cells = paint(storage or service.storage, plan, FetchOptions())
    return [cells[item.row] for item in plan.slices]


@pytest.mark.parametrize("transfer_syntax", CODECS)
@pytest.mark.parametrize("contrast", ["80/40", "1500/-500", "4000/0", "auto"])
def test_a_compressed_slice_is_its_native_twin(transfer_syntax, contrast):
    """Without loss there is no difference, in whatever window: every frame is decoded whole."""
    compressed, native = series(transfer_syntax), series(make_dicom.EXPLICIT)
    pairs = zip(
        painted(compressed, plan_of(compressed, contrast)),
        painted(native, plan_of(native, contrast)),
        strict=True,
    )
    for one, other in pairs:
        assert np.array_equal(one.cells[0].tile, other.cells[0].tile)


@pytest.mark.parametrize("transfer_syntax", CODECS)
def test_each_frame_is_fetched_once(transfer_syntax):
    """A compressed mosaic asks for each of its frames once, and for no other byte."""
    service = series(transfer_syntax)
    plan_of(service, "1500/-500")
    plan = plan_of(service, "1500/-500")
    storage = doubles.CountingStorage(service.storage)
    painted(service, plan, storage)
    assert sorted(wanted.path for wanted in storage.ranges) == [f"S/{n:03}.dcm" for n in range(SLICES)]
    assert storage.received == sum(item.location.length for item in plan.slices if item.location)
