"""A service over objects in memory, and series of slices of one value each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from pydicom import Dataset

import doubles
import make_dicom
from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.products.pictures.requests import ContrastRequest, ImageRequest, MosaicRequest
from dicom_series_preview.products.pictures.service import PreviewService, Rendered
from dicom_series_preview.sources.storage.base import ObjectInfo, Storage
from dicom_series_preview.sources.storage.memory import MemoryStorage

SIDE = 16
SECRET = "Secret^Patient"


def uniform(number: int, value: int, **elements: Any) -> Dataset:
    """A slice `number` mm above the origin that is filled with one modality value."""
    stored = np.full((SIDE, SIDE), value + 1024, "<u2")
    given = {"Rows": SIDE, "Columns": SIDE, "PixelSpacing": [1.0, 1.0], "PatientName": SECRET}
    return make_dicom.image(number, **{**given, "PixelData": stored.tobytes(), **elements})


def files(*datasets: Dataset, folder: str = "S") -> dict[str, bytes]:
    """Objects of a series, in a folder, by InstanceNumber."""
    return {f"{folder}/{data.InstanceNumber}.dcm": make_dicom.encode(data) for data in datasets}


def ramp(count: int = 5) -> dict[str, bytes]:
    """A series whose slices have the values 0, 100, 200 ... from the superior one on."""
    return files(*(uniform(count - i, 100 * i) for i in range(count)))


@dataclass
class Bench:
    """A service, and what it stands on."""

    objects: dict[str, bytes]
    limits: Limits = field(default_factory=Limits)
    immutable: bool = False
    storage: Any = None
    cache: IndexCache | None = field(default_factory=lambda: IndexCache(MemoryStorage()))

    def __post_init__(self) -> None:
        if self.storage is None:
            self.storage = doubles.CountingStorage(MemoryStorage(self.objects, immutable=self.immutable))

    @property
    def service(self) -> PreviewService:
        """A service as of now."""
        return PreviewService(self.storage, self.cache, self.limits)

    def mosaic(self, output: str = "a.jpg", series: str = "S", **options: Any) -> Rendered:
        """A mosaic in JPEG at quality 100, of tiles as large as the slices."""
        return self.service.render(MosaicRequest.from_strings(series, output, given(options)))

    def image(self, position: float, **options: Any) -> Rendered:
        """An image, as `mosaic`."""
        options = given({"position": position, **options})
        return self.service.render(ImageRequest.from_strings("S", "a.jpg", options))

    def contrasts(self, *contrasts: str, **options: Any) -> Rendered:
        """A contrast mosaic, as `mosaic`."""
        options = given({"contrast": list(contrasts), **options})
        return self.service.render(ContrastRequest.from_strings("S", "a.jpg", options))


def given(options: dict[str, Any]) -> dict[str, list[str]]:
    """Options as a request is built from, with tiles as large as the slices at the best quality."""
    options = {"image_width": SIDE, "quality": 100, **options}
    return {k: [str(x) for x in v] if isinstance(v, list) else [str(v)] for k, v in options.items()}


def pixels(rendered: Rendered) -> np.ndarray:
    """A picture's pixels."""
    with Image.open(BytesIO(rendered.data)) as image:
        return np.asarray(image).astype(int)


def greys(rendered: Rendered) -> list[int]:
    """The middle grey of each cell of a picture, row by row."""
    report = rendered.report
    image = pixels(rendered)
    return [
        int(image[top + report.tile_height // 2, left + report.tile_width // 2])
        for top in range(0, report.height, report.tile_height)
        for left in range(0, report.width, report.tile_width)
    ]


class AfterListing(doubles.Wrapper):
    """Something happens between the listing and what follows, a number of times."""

    def __init__(self, inner: Storage, change: Callable[[int], None], times: int) -> None:
        super().__init__(inner)
        self.change, self.times, self.lists = change, times, 0

    def list_objects(self, folder: str, most: int | None = None) -> list[ObjectInfo]:
        """The listing before the change."""
        found = super().list_objects(folder, most)
        self.lists += 1
        if self.lists <= self.times:
            self.change(self.lists)
        return found
