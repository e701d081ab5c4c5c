"""Compare encoder settings on real pictures: bytes, SSIM and milliseconds.

Usage: python benchmarks/encoders.py FOLDER

FOLDER is a collection of test data (`series/`, `single/`). Pictures are the product's, before encoding. SSIM
follows Wang et al. 2004 (a Gaussian window of 11 x 11, sigma 1.5); it is the mean where the picture is not
flat, because most of a mosaic is black and would hide the rest. For colours it is the channels' mean. Prints
Markdown; docs/decisions/0022 says what was chosen.
"""

from __future__ import annotations

import io
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT / "shared"))

import numpy as np
from PIL import Image

from dicom_series_preview.base.settings import Limits
from dicom_series_preview.products.pictures import service as preview
from dicom_series_preview.products.pictures.encode import encode
from dicom_series_preview.products.pictures.formats import ImageFormat
from dicom_series_preview.products.pictures.requests import ImageRequest, MosaicRequest
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.sources.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Encoder = Callable[[np.ndarray, int], bytes]

QUALITIES = (25, 50, 75)
CURVE = (5, 10, 18, 25, 35, 50, 62, 75, 85, 92)
WIDTHS = (128, 256)
ROUNDS = 5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_GAUSSIAN = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
_GAUSSIAN /= _GAUSSIAN.sum()


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of the collection: a mosaic if it has columns and rows, else the middle slice."""

    name: str
    path: str
    contrast: str = ""
    columns: int = 0
    rows: int = 0


PICTURES = (
    Shown("CT brain 80/40", "series/ct-gantrytilt-ge", "brain", 5, 5),
    Shown("CT lung", "series/ct-chest-lidc-philips", "lung", 6, 6),
    Shown("CT mediastinum", "series/ct-chest-lidc-philips", "mediastinum", 6, 6),
    Shown("CT abdomen", "series/ct-chest-topogram-siemens", "abdomen", 3, 2),
    Shown("MR brain", "series/mr-axoblique-ge", "", 5, 4),
    Shown("PET", "series/pt-wholebody-cps", "", 6, 6),
    Shown("DX chest", "single/cr-dx/RG1_J2KI.dcm"),
    Shown("DX", "single/cr-dx/dx_image.dcm"),
    Shown("ultrasound, colour", "single/rgb/examples_rgb_color.dcm"),
    Shown("ultrasound, Doppler", "single/rle/US1_RLE.dcm"),
)


def paint(folder: Path, shown: Shown, width: int) -> np.ndarray:
    """Return the picture that the product passes to the encoder."""
    path = folder / shown.path
    files = [path] if path.is_file() else sorted(path.iterdir())
    objects = {f"S/{file.name}": file.read_bytes() for file in files}
    service = PreviewService(MemoryStorage(objects, immutable=True), None, Limits())
    options = {"image_width": [str(width)], "contrast": [shown.contrast] if shown.contrast else []}
    with mock.patch.object(preview, "encode", return_value=b"") as given:
        if shown.columns:
            options |= {"tile_width": [str(shown.columns)], "tile_height": [str(shown.rows)]}
            service.render(MosaicRequest.from_strings("S", "a.webp", options))
        else:
            options["position"] = ["0.5"]
            service.render(ImageRequest.from_strings("S", "a.webp", options))
    return given.call_args.args[0]


def blurred(image: np.ndarray) -> np.ndarray:
    """Return the weighted mean of each window inside the image."""
    for _ in range(2):
        inner = len(image) - len(_GAUSSIAN) + 1
        image = sum(weight * image[i : i + inner] for i, weight in enumerate(_GAUSSIAN)).T
    return image


def ssim(one: np.ndarray, two: np.ndarray) -> float:
    """Return the structural similarity of two grey pictures, where the first is not flat."""
    one, two = one.astype(float), two.astype(float)
    mean_1, mean_2 = blurred(one), blurred(two)
    variance_1, variance_2 = blurred(one * one) - mean_1**2, blurred(two * two) - mean_2**2
    covariance = blurred(one * two) - mean_1 * mean_2
    means = (2 * mean_1 * mean_2 + _C1) / (mean_1**2 + mean_2**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_1 + variance_2 + _C2)
    return float((means * structure)[variance_1 > 1].mean())


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an encoder on a picture."""

    size: int
    ssim: float
    milliseconds: float


@dataclass(slots=True)
class Measured:
    """A picture, and the encoders' results on it so far."""

    image: np.ndarray
    held: dict[tuple[str, int], Outcome] = field(default_factory=dict)

    def outcome(self, name: str, encoder: Encoder, quality: int) -> Outcome:
        """Return an encoder's result at a quality."""
        if (name, quality) not in self.held:
            took = []
            for _ in range(ROUNDS):
                started = time.process_time()
                data = encoder(self.image, quality)
                took.append(time.process_time() - started)
            self.held[name, quality] = Outcome(len(data), self.similarity(data), 1000 * min(took))
        return self.held[name, quality]

    def similarity(self, data: bytes) -> float:
        """Return the similarity of a file to the picture."""
        with Image.open(io.BytesIO(data)) as opened:
            seen = np.asarray(opened.convert("L" if self.image.ndim == 2 else "RGB"))
        pairs = np.atleast_3d(self.image), np.atleast_3d(seen)
        return float(np.mean([ssim(pairs[0][..., i], pairs[1][..., i]) for i in range(pairs[0].shape[2])]))

    def size_at(self, name: str, encoder: Encoder, similarity: float) -> float:
        """Return the bytes that an encoder needs for a similarity, NaN if it cannot reach it."""
        curve = [self.outcome(name, encoder, quality) for quality in CURVE]
        reached = np.maximum.accumulate([one.ssim for one in curve])
        if not reached[0] <= similarity <= reached[-1]:
            return float("nan")
        return float(np.exp(np.interp(similarity, reached, [np.log(one.size) for one in curve])))


def pillow(name: str, **options: Any) -> Encoder:
    """Return one of Pillow's encoders with settings."""

    def encoder(image: np.ndarray, quality: int) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, name, quality=quality, **options)
        return stream.getvalue()

    return encoder


def product(image_format: ImageFormat) -> Encoder:
    """Return the product's encoder."""
    return lambda image, quality: encode(image, image_format, quality)


WEBP = {f"WebP, method {method}": pillow("WEBP", method=method) for method in (4, 0, 2, 3, 5, 6)}
JPEG = {
    "JPEG, 4:2:0": pillow("JPEG", subsampling=2),
    "4:2:0, optimised": pillow("JPEG", subsampling=2, optimize=True),
    "4:2:0, progressive": pillow("JPEG", subsampling=2, progressive=True),
    "4:2:2, progressive": pillow("JPEG", subsampling=1, progressive=True),
    "4:4:4, progressive": pillow("JPEG", subsampling=0, progressive=True),
    "JPEG of the product": product(ImageFormat.JPEG),
}


def qualities(pictures: dict[tuple[str, int], Measured]) -> Iterator[list[str]]:
    """Yield the product's bytes and SSIM at each quality."""
    lossy = [image_format for image_format in ImageFormat if not image_format.lossless]
    names = [image_format.pillow_name for image_format in lossy]
    yield ["", "size", *(f"{name} {quality}" for name in names for quality in QUALITIES)]
    for (name, width), picture in pictures.items():
        height, across = picture.image.shape[:2]
        cells = []
        for image_format in lossy:
            for quality in QUALITIES:
                one = picture.outcome(image_format.pillow_name, product(image_format), quality)
                cells.append(f"{one.size / 1e3:.1f} / {one.ssim:.3f}")
        yield [f"{name}, {width}", f"{across} x {height}", *cells]


def settings(pictures: dict[tuple[str, int], Measured], encoders: dict[str, Encoder]) -> Iterator[list[str]]:
    """Yield bytes relative to the first setting's at equal SSIM, and relative time."""
    first, standard = next(iter(encoders.items()))
    words = [f"{kind} {quality}" for kind in ("grey", "colour") for quality in QUALITIES]
    yield [f"over {first}", *words, "time"]
    for name, encoder in encoders.items():
        ratios: dict[tuple[bool, int], list[float]] = {}
        times = []
        for picture in pictures.values():
            for quality in QUALITIES:
                aim = picture.outcome(first, standard, quality)
                ratio = picture.size_at(name, encoder, aim.ssim) / aim.size
                ratios.setdefault((picture.image.ndim == 3, quality), []).append(ratio)
                times.append(picture.outcome(name, encoder, quality).milliseconds / aim.milliseconds)
        cells = [
            f"{np.nanmean(ratios[colour, quality]):.2f}" for colour in (False, True) for quality in QUALITIES
        ]
        yield [name, *cells, f"{np.median(times):.1f}"]


def show(lines: Iterator[list[str]]) -> None:
    """Print cells as a Markdown table."""
    head, *others = lines
    for line in (head, ["---", *("--:" for _ in head[1:])], *others):
        print(f"| {' | '.join(line)} |")
    print(flush=True)


def main(folder: Path) -> None:
    """Measure, and print."""
    pictures = {
        (shown.name, width): Measured(paint(folder, shown, width)) for width in WIDTHS for shown in PICTURES
    }
    print("kB / SSIM\n")
    show(qualities(pictures))
    for encoders in (WEBP, JPEG):
        show(settings(pictures, encoders))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
