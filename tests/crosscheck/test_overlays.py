"""Our overlays beside those of dcmtk, pixel by pixel."""

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import make_dicom
from conformance import peers
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.pixels.frames import fetch_frames
from dicom_series_preview.pixels.overlays import overlay_of
from dicom_series_preview.sources.storage.memory import MemoryStorage

ROWS, COLUMNS = 19, 23
RANDOM = np.random.default_rng(4)
MASK = RANDOM.random((ROWS, COLUMNS)) < 0.4
WORDS = np.full((ROWS, COLUMNS), 500, np.uint16)


@pytest.fixture(autouse=True)
def _dcmtk() -> None:
    if reason := peers.missing("dcmtk"):
        pytest.skip(reason)


def ours(data: bytes) -> NDArray[np.bool_]:
    """The pixels that our overlays mark, of each frame: (frames, rows, columns)."""
    storage = MemoryStorage({"s/a": data})
    index = SeriesIndexer(storage, None, Limits()).open(SeriesName("s")).index
    slices = index.slices(range(index.table.num_rows), overlays=True)
    masks = {}
    for frame in fetch_frames(storage, "s", slices):
        pixels = frame.slice.pixels
        found = overlay_of(frame, Limits().frame_bytes)
        assert found.warnings == ()
        masks[frame.slice.frame_number] = found.mask(pixels.rows, pixels.columns)
    return np.stack([masks[number] for number in sorted(masks)])


def theirs(path: Path, frames: int, *options: str) -> NDArray[np.int64]:
    """What dcmtk shows of each frame under a window that leaves white to overlays."""
    shown = []
    for number in range(1, frames + 1):
        command = ["dcmj2pnm", *options, "+F", str(number), "+Ww", "2048", "65535", str(path)]
        done = subprocess.run(command, capture_output=True, check=True)
        with Image.open(io.BytesIO(done.stdout)) as picture:
            shown.append(np.asarray(picture).astype(np.int64))
    return np.stack(shown)


def image(words: NDArray[np.uint16] = WORDS, syntax: str = make_dicom.EXPLICIT, **elements: object) -> bytes:
    """An image with one plane."""
    several = {"NumberOfFrames": len(words)} if words.ndim == 3 else {}
    stored = words.astype("<u2").tobytes()
    source = make_dicom.image(
        Rows=ROWS, Columns=COLUMNS, PixelSpacing=[1, 1], RescaleIntercept=0, PixelData=stored, **several
    )
    bits = elements.pop("bits", MASK)
    make_dicom.overlay(source, bits, **elements)
    if syntax == make_dicom.BIG_ENDIAN:
        source.PixelData = make_dicom.swapped(source.PixelData)
        if 0x60003000 in source:
            source[0x60003000].value = make_dicom.swapped(source[0x60003000].value)
    return make_dicom.encode(source, syntax)


EMBEDDED = {"OverlayBitsAllocated": 16, "OverlayBitPosition": 14, "OverlayData": None}
THREE = np.stack([WORDS] * 3)
OBJECTS = {
    "plain": image(),
    "roi": image(OverlayType="R"),
    "implicit": image(syntax=make_dicom.IMPLICIT),
    "big endian": image(syntax=make_dicom.BIG_ENDIAN),
    "deflated": image(syntax=make_dicom.DEFLATED),
    "upper left": image(OverlayOrigin=[-3, -7]),
    "lower right": image(OverlayOrigin=[9, 12]),
    "small": image(bits=MASK[:5, :9], OverlayOrigin=[3, 8]),
    "for every frame": image(THREE),
    "a frame each": image(THREE, bits=RANDOM.random((3, ROWS, COLUMNS)) < 0.4),
    "bits in the pixel data": image(WORDS | MASK * np.uint16(1 << 14), **EMBEDDED),
    "bits in big endian": image(WORDS | MASK * np.uint16(1 << 14), make_dicom.BIG_ENDIAN, **EMBEDDED),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_overlays_are_dcmtks(name: str, tmp_path: Path) -> None:
    """The pixels that dcmtk marks are ours, however a plane is stored and wherever it lies."""
    path = tmp_path / "a.dcm"
    path.write_bytes(OBJECTS[name])
    found = ours(OBJECTS[name])
    assert found.any()
    assert (found == (theirs(path, len(found), "+Omr") == 255)).all()


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore")  # pydicom's, of real files
@pytest.mark.parametrize("name", ["odd/examples_overlay.dcm", "mg/OutOfBoundsOverlay.dcm"])
def test_overlays_of_real_objects_are_dcmtks(real_data: Path, name: str) -> None:
    """The pixels of real objects that dcmtk changes are ours, save what is white already."""
    path = real_data / "single" / name
    found = ours(path.read_bytes())
    overlaid, plain = (theirs(path, 1, option) for option in ("+Omr", "-O"))
    assert found.any()
    assert ((overlaid != plain) == (found & (plain != overlaid.max()))).all()
