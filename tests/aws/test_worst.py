"""The worst request that each route permits, on the Lambda runtime; with `-rP` the figures are told."""

from typing import Any

import pytest

from built import BUILT

# isort: split

from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate

import make_dicom
import stack as stacks
from stack import Stack

pytestmark = pytest.mark.aws

MEMORY_MB = 1769
# As `Limits.for_memory` has them for this memory.
SPARE_BYTES = (MEMORY_MB // 2 - 160) * 2**20
FRAME_BYTES, OUTPUT_PIXELS, ROWS = SPARE_BYTES // 14, SPARE_BYTES // 40, SPARE_BYTES // 6144
TIMEOUT_S = 29
JPEG_2000 = "1.2.840.10008.1.2.4.90"
SIDE = int(OUTPUT_PIXELS**0.5)
ONE = f"position=0&image_width={SIDE}&quality=100"
COMPARED = "position=0&image_width=1023&" + "&".join(f"contrast={width}%2F500" for width in range(1000, 1016))

# Route, series, query, and the status that comes of it: 303 where an answer cannot hold the picture.
WORST = [
    ("image", "rgb", ONE, 303),
    ("image", "rgb", f"{ONE}&format=jpeg", 303),
    ("image", "padded", ONE, 303),
    ("image", "wide", ONE, 303),
    ("image", "jpeg2000", ONE, 303),
    ("mosaic", "ct", "tile_width=6&image_width=720&quality=100&contrast=auto", 303),
    ("mosaic", "ct", "tile_width=6&image_width=720&quality=100&contrast=auto&format=jpeg", 303),
    ("mosaic", "large", "tile_width=2&image_width=2170&quality=100&contrast=auto", 303),
    ("mosaic", "enhanced", "tile_width=100&image_width=1", 200),
    ("contrast-mosaic", "grey", COMPARED, 200),
    ("contrast-mosaic", "ct", COMPARED.replace("position=0", "tile_height=1"), 303),
    ("index", "enhanced", "", 200),
    ("index", "enhanced", "format=parquet", 200),
    ("index", "enhanced", "format=json", 413),
    ("index", "enhanced", "format=jsonl", 413),
]


def noise(*shape: int, bits: int = 12, kind: Any = np.uint16) -> NDArray[Any]:
    """What compresses least."""
    return np.random.default_rng(20240601).integers(0, 2**bits, shape, kind)


def image(number: int, samples: NDArray[Any], **elements: Any) -> bytes:
    """An instance of square pixels."""
    bits = samples.itemsize * 8
    layout = {
        "BitsAllocated": bits,
        "BitsStored": min(bits, elements.pop("stored", bits)),
        "PixelSpacing": [1, 1],
    }
    layout["HighBit"] = layout["BitsStored"] - 1
    rows, columns = samples.shape[:2]
    if samples.ndim == 3:
        layout |= {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
        layout |= {"RescaleSlope": None, "RescaleIntercept": None}
    syntax = elements.pop("syntax", make_dicom.EXPLICIT)
    made = make_dicom.image(number, Rows=rows, Columns=columns, **{**layout, **elements})
    if "PixelData" not in elements:
        made.PixelData = samples.tobytes()
    else:
        made["PixelData"].is_undefined_length = True
    return make_dicom.encode(made, syntax)


def side(bytes_a_pixel: int) -> int:
    """Of the largest square frame."""
    return int((FRAME_BYTES / bytes_a_pixel) ** 0.5) // 2 * 2


def series() -> Iterator[tuple[str, int, bytes]]:
    """Each series' objects, of frames as large as they may be, or of as many slices."""
    yield "rgb", 1, image(1, noise(side(3), side(3), 3, bits=8, kind=np.uint8))
    grey = noise(side(2), side(2))
    yield "grey", 1, image(1, grey, stored=12)
    whole = imagecodecs.jpeg2k_encode(grey, codecformat="j2k", reversible=True, level=0)
    yield "jpeg2000", 1, image(1, grey, stored=12, syntax=JPEG_2000, PixelData=encapsulate([whole]))
    for number in range(1, 5):
        yield "large", number, image(number, grey, stored=12)
    padded = grey.copy()
    padded[:, : side(2) // 8] = 0
    yield "padded", 1, image(1, padded, stored=12, PixelPaddingValue=0)
    yield "wide", 1, image(1, noise(side(4), side(4), bits=31, kind=np.uint32))
    for number in range(1, 41):
        yield "ct", number, image(number, noise(512, 512), stored=12)
    groups = [make_dicom.position_group(0, 0, z / 2) for z in range(ROWS)]
    yield "enhanced", 1, make_dicom.encode(make_dicom.enhanced(groups, make_dicom.orientation_group()))


@pytest.fixture(scope="module")
def stack(layers: list[Path]) -> Iterator[Stack]:
    """The deployment, with the series that cost most, whose indices are there."""
    assert layers
    # Processor's time is measured, and no wall clock decides.
    with stacks.deployed(BUILT, unhurried=True, MemorySize=str(MEMORY_MB)) as running:
        s3, names = running.s3.client(), set()
        for name, number, data in series():
            s3.put_object(Bucket=stacks.DICOM_BUCKET, Key=f"{name}/{number}.dcm", Body=data)
            names.add(name)
        for name in names:
            assert running.get(f"/series/{name}/index").status == 200
        # What an index takes to be made; a function of its own memory asks from here on.
        function = running.functions["IndexFunction"]
        told("index, made", function.processor_s(), function.peak_bytes())
        assert function.peak_bytes() < MEMORY_MB * 2**20 / 2
        yield running


def told(what: str, seconds: float, peak: int) -> None:
    """Print a line of the table in docs/performance.md."""
    print(f"| {what} | {seconds:.1f} | {peak / 1e6:.0f} |")  # noqa: T201 - figures


@pytest.mark.parametrize(("route", "name", "query", "status"), WORST)
def test_half_of_the_function_is_spared(route: str, name: str, query: str, status: int, stack: Stack) -> None:
    """The worst request that a route permits takes less than half of the function's memory and time."""
    function = stack.functions["".join(part.capitalize() for part in route.split("-")) + "Function"]
    function.restart()
    answer = stack.get(f"/series/{name}/{route}", query)
    told(f"{route} of {name}, `{query}`: {answer.status}", function.processor_s(), function.peak_bytes())
    assert answer.status == status, answer.body[:300]
    assert function.peak_bytes() < MEMORY_MB * 2**20 / 2
    assert function.processor_s() < TIMEOUT_S / 2
