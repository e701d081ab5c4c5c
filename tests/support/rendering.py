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


def files(*datasets: Dataset, syntax: str = make_dicom.EXPLICIT) -> dict[str, bytes]:
    """Objects of a series, by InstanceNumber."""
    return {f"S/{data.InstanceNumber}.dcm": make_dicom.encode(data, syntax) for data in datasets}


def ramp(count: int = 5) -> dict[str, bytes]:
    """A series whose slices have the values 0, 100, 200 ... from the superior one on."""
    return files(*(uniform(count - i, 100 * i) for i in range(count)))


@dataclass
class Bench:
    """A service, what it stands on, and what it is asked for where a test does not say.

    Attributes:
        objects: What lies in the root.
        limits: What is refused.
        immutable: What the root says.
        storage: The root; replaces `objects`.
        cache: Where indices are kept, or None.
        output: The name of a picture.
        options: Options of each request. By default tiles are as large as the slices, at the best quality.
    """

    objects: dict[str, bytes]
    limits: Limits = field(default_factory=Limits)
    immutable: bool = False
    storage: Any = None
    cache: IndexCache | None = field(default_factory=lambda: IndexCache(MemoryStorage()))
    output: str = "a.jpg"
    options: dict[str, Any] = field(default_factory=lambda: {"image_width": SIDE, "quality": 100})

    def __post_init__(self) -> None:
        if self.storage is None:
            self.storage = doubles.CountingStorage(MemoryStorage(self.objects, immutable=self.immutable))

    @property
    def service(self) -> PreviewService:
        """A service as of now."""
        return PreviewService(self.storage, self.cache, self.limits)

    def mosaic(self, output: str | None = None, series: str = "S", **options: Any) -> Rendered:
        """A mosaic."""
        return self.rendered(MosaicRequest, output, series, **options)

    def image(self, position: float = 0.0, **options: Any) -> Rendered:
        """An image."""
        return self.rendered(ImageRequest, position=position, **options)

    def contrasts(self, *contrasts: str, **options: Any) -> Rendered:
        """A contrast mosaic."""
        return self.rendered(ContrastRequest, contrast=list(contrasts), **options)

    def rendered(self, kind: Any, output: str | None = None, series: str = "S", **options: Any) -> Rendered:
        """A picture of some kind."""
        return self.service.render(self.request(kind, output, series, **options))

    def request(self, kind: Any, output: str | None = None, series: str = "S", **options: Any) -> Any:
        """The request for it."""
        return kind.from_strings(series, output or self.output, as_strings({**self.options, **options}))


def as_strings(options: dict[str, Any]) -> dict[str, list[str]]:
    """Options as a request is built from."""
    return {k: [str(x) for x in v] if isinstance(v, list) else [str(v)] for k, v in options.items()}


def pixels(rendered: Rendered, mode: str | None = None) -> np.ndarray:
    """A picture's pixels, as they are or in another mode."""
    with Image.open(BytesIO(rendered.data)) as image:
        return np.asarray(image.convert(mode) if mode else image).astype(int)


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
