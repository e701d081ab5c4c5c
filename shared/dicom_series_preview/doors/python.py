"""The Python door: a series, and its pictures as a notebook shows them."""

from __future__ import annotations

import base64
import io
import logging
import os
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from PIL import Image

from dicom_series_preview.archive.cache_folder import CacheFolder
from dicom_series_preview.archive.here import find
from dicom_series_preview.archive.names import index_folder
from dicom_series_preview.archive.open import IndexCache
from dicom_series_preview.base.errors import ObjectNotFoundError, OutputError, PreviewError, RequestError
from dicom_series_preview.base.settings import SERVED_ANSWER_BYTES, SERVED_BYTES, Settings, absolute
from dicom_series_preview.products.pictures.encode import ImageFormat, write_atomically
from dicom_series_preview.products.pictures.requests import (
    DEFAULT_IMAGE_WIDTH,
    NO_FILE,
    ContrastRequest,
    ImageRequest,
    IndexRequest,
    MosaicRequest,
)
from dicom_series_preview.products.pictures.service import PreviewService, Rendered
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.sources.storage.local import LocalStorage
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.sources.storage.open import open_storage
from dicom_series_preview.sources.storage.throttle import CONCURRENCY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa
    from numpy.typing import NDArray
    from pydicom import Dataset

    from dicom_series_preview.archive.index.read import Index
    from dicom_series_preview.products.pictures.report import Report
    from dicom_series_preview.sources.storage.base import Storage
    from dicom_series_preview.web.http.api import PreviewApi


Format: TypeAlias = Literal["webp", "jpeg", "jpg", "png"]
Kind: TypeAlias = Literal["mosaic", "image", "contrast_mosaic"]

_LOGGER = logging.getLogger(__name__)
# A root that has not answered by then is served all the same.
_LOOK_S = 2.0


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How a picture was asked for, so that it can be made again.

    Attributes:
        series: The series.
        kind: Which picture.
        options: The options that were given, as a request is built from.
    """

    series: Series
    kind: Kind
    options: dict[str, list[str]]

    def make(self, image_format: ImageFormat) -> Rendered:
        """Make the picture in a format.

        Raises:
            PreviewError: It cannot be had.
        """
        return self.series._rendered(self, image_format)  # noqa: SLF001 - of this module

    def without_quality(self) -> _Recipe:
        """The same picture, for a format that has no quality."""
        options = {name: values for name, values in self.options.items() if name != "quality"}
        return replace(self, options=options)


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture of a series; a notebook shows it. It can be pickled, and so go to another process.

    Attributes:
        data: The file's bytes.
        media_type: `image/webp`, `image/jpeg` or `image/png`.
        report: What is shown, what was skipped, and what it cost.
    """

    data: bytes = field(repr=False)
    media_type: str
    report: Report = field(repr=False)
    _recipe: _Recipe | None = field(default=None, repr=False, compare=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to a file, whole or not at all.

        Where the file's extension is of another format, the picture is rendered anew in that one, so that it
        loses nothing twice.

        Raises:
            RequestError: The extension is of no format that there is.
            OutputError: It cannot be written.
            PreviewError: It has to be rendered anew, and cannot be.
        """
        wanted, data = ImageFormat.from_path(path), self.data
        if wanted.media_type != self.media_type:
            if self._recipe is None:
                raise RequestError(
                    "path", f"the picture is {self.media_type}, and {Path(path).suffix} is not"
                )
            recipe = self._recipe.without_quality() if wanted.lossless else self._recipe
            data = recipe.make(wanted).data
        write_atomically(Path(path), data)

    def pil(self) -> Image.Image:
        """The picture as a Pillow image, decoded."""
        with Image.open(io.BytesIO(self.data)) as image:
            image.load()
            return image

    def _repr_html_(self) -> str:
        text = base64.b64encode(self.data).decode("ascii")
        size = f'width="{self.report.width}" height="{self.report.height}"'
        return f'<img src="data:{self.media_type};base64,{text}" {size} alt="preview of a DICOM series">'


class Series:
    """A DICOM series, named as on the command line.

    Options of pictures are called as on the command line, in snake_case; `image_format` is its `--format`::

        series = Series("38902e14-b11f-4548-910e-771ee757dc82")
        series.mosaic(tile_width=4, contrast="lung")
        series.image(0.5, image_width=512).save("middle.webp")
        Series(Path("data/CT")).array(0.5)

    Args:
        name: A UUID, a UID, a folder below `root`, a prefix such as `389*`, a full URL, or a path of a folder
            or of one DICOM file: a `Path`, or text as on the command line (`./CT`, `CT/`, `../CT`).
        root: Storage root: `s3://`, `http(s)://`, `file://` or a folder. By default `s3://idc-open-data`.
        cache_dir: Where indices are kept; the user's cache folder by default.
        cache: Keep indices, and use those that are kept; False is the command line's `--no-cache`.

    Raises:
        PreviewError: The name or the root cannot be one.
        TypeError: The name is neither text nor a path.
    """

    def __init__(
        self,
        name: str | os.PathLike[str],
        *,
        root: str | os.PathLike[str] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        cache: bool = True,
    ) -> None:
        settings = Settings.from_environment(os.environ, Path(cache_dir) if cache_dir else None)
        text = name if isinstance(name, str) else str(absolute(name))
        self._named = find(text, None if root is None else os.fspath(root), os.environ)
        storage = self._named.open(settings, os.environ)
        kept = open_cache(settings, storage) if cache else None
        self._service = PreviewService(storage, kept, settings.limits)
        self._text = text
        self._cache_dir = str(settings.cache_dir)

    def __repr__(self) -> str:
        return f"Series({self._text!r}, root={self._service.storage.url!r})"

    def __reduce__(self) -> tuple[Callable[..., Series], tuple[str, str, str | None]]:
        kept = None if self._service.cache is None else self._cache_dir
        # What is opened by it, credentials among it, is opened again where it is unpickled.
        root = self._service.storage.url if self._named.name.root is None else ""
        return _reopened, (self._named.text, root, kept)

    def mosaic(  # noqa: PLR0913 - options, by name
        self,
        *,
        tile_width: int | None = None,
        tile_height: int | None = None,
        start: float = 0.0,
        end: float = 1.0,
        contrast: str | None = None,
        image_width: int = DEFAULT_IMAGE_WIDTH,
        image_format: Format = "webp",
        quality: int | None = None,
        stack: int = 0,
        untile: bool = False,
        overlays: bool = False,
        labels: bool = False,
    ) -> Preview:
        """A grid of images spread evenly over the series.

        Args:
            tile_width: Images in a row; None: 6, or as few as hold all images.
            tile_height: Images in a column; None: as `tile_width`, or as few as hold all images.
            start: First position shown, 0 to 1.
            end: Last position shown, 0 to 1.
            contrast: A preset such as `lung`, a window such as `1500/-500`, `auto` or `embedded`; the file's
                own, or what suits the image.
            image_width: Width of each image in pixels.
            image_format: `webp`, `jpeg` or `png`, which loses nothing.
            quality: 0 (smallest) to 100 (best); 25, of JPEG 50.
            stack: Which stack of the series.
            untile: Show the slices in Siemens mosaics.
            overlays: Draw overlay planes into the images.
            labels: Write position, contrast and directions on the images.

        Raises:
            PreviewError: It cannot be had.
        """
        options = {
            "tile_width": tile_width,
            "tile_height": tile_height,
            "start": start,
            "end": end,
            "contrast": contrast,
            "image_width": image_width,
            "quality": quality,
            "stack": stack,
            "untile": untile,
            "overlays": overlays,
            "labels": labels,
        }
        return self._preview("mosaic", image_format, options)

    def image(  # noqa: PLR0913 - options, by name
        self,
        position: float,
        *,
        slice_offset: int = 0,
        contrast: str | None = None,
        image_width: int = DEFAULT_IMAGE_WIDTH,
        image_format: Format = "webp",
        quality: int | None = None,
        stack: int = 0,
        untile: bool = False,
        overlays: bool = False,
        labels: bool = False,
    ) -> Preview:
        """The image at a position.

        Args:
            position: 0 (first) to 1 (last).
            slice_offset: Slices to move on from there.
            contrast: As of `mosaic`, and so are all that follow.
            image_width: See `mosaic`.
            image_format: See `mosaic`.
            quality: See `mosaic`.
            stack: See `mosaic`.
            untile: See `mosaic`.
            overlays: See `mosaic`.
            labels: See `mosaic`.

        Raises:
            PreviewError: It cannot be had.
        """
        options = {
            "position": position,
            "slice_offset": slice_offset,
            "contrast": contrast,
            "image_width": image_width,
            "quality": quality,
            "stack": stack,
            "untile": untile,
            "overlays": overlays,
            "labels": labels,
        }
        return self._preview("image", image_format, options)

    def contrast_mosaic(  # noqa: PLR0913 - options, by name
        self,
        *contrasts: str,
        position: float | None = None,
        slice_offset: int | None = None,
        start: float | None = None,
        end: float | None = None,
        tile_height: int | None = None,
        image_width: int = DEFAULT_IMAGE_WIDTH,
        image_format: Format = "webp",
        quality: int | None = None,
        stack: int = 0,
        untile: bool = False,
        overlays: bool = False,
        labels: bool = False,
    ) -> Preview:
        """Images under several contrasts: a row an image, a column a contrast.

        Args:
            *contrasts: The columns, such as `lung`, `1500/-500`, `auto`.
            position: One image, 0 to 1; without it there are several, from `start` to `end`.
            slice_offset: Slices to move on from the position.
            start: First position shown; 0.
            end: Last position shown; 1.
            tile_height: Images from `start` to `end`; 2.
            image_width: See `mosaic`, and so all that follow.
            image_format: See `mosaic`.
            quality: See `mosaic`.
            stack: See `mosaic`.
            untile: See `mosaic`.
            overlays: See `mosaic`.
            labels: See `mosaic`.

        Raises:
            PreviewError: It cannot be had.
        """
        options = {
            "contrast": contrasts,
            "position": position,
            "slice_offset": slice_offset,
            "start": start,
            "end": end,
            "tile_height": tile_height,
            "image_width": image_width,
            "quality": quality,
            "stack": stack,
            "untile": untile,
            "overlays": overlays,
            "labels": labels,
        }
        return self._preview("contrast_mosaic", image_format, options)

    def array(
        self, position: float, *, slice_offset: int = 0, stack: int = 0, untile: bool = False
    ) -> NDArray[Any]:
        """The slice at a position as it was measured: before any window, at full size, padding included.

        Args:
            position: 0 (first) to 1 (last).
            slice_offset: Slices to move on from there.
            stack: Which stack of the series.
            untile: Take a slice in a Siemens mosaic.

        Returns:
            Modality values (Hounsfield units of a CT), shape (rows, columns): float64 where a slope or an
            intercept applies, else of the type that is stored. Of a segmentation of type LABELMAP the labels
            as they are stored. Of colour uint8 RGB, (rows, columns, 3).

        Raises:
            PreviewError: It cannot be had.
        """
        options = {"position": position, "slice_offset": slice_offset, "stack": stack, "untile": untile}
        asked = ImageRequest.from_strings(self._named.text, NO_FILE, _strings(options))
        with self._named.hinting():
            return self._service.values(asked)

    @property
    def table(self) -> pa.Table:
        """The index: one row a slice, in display order, stack after stack; docs/index.md has the columns."""
        return self._index().whole

    def header(self, row: int) -> Dataset:
        """The header of the object that a row of the index belongs to; long binary values are left out.

        Raises:
            RequestError: There is no such row.
        """
        index = self._index()
        if not 0 <= row < index.table.num_rows:
            raise RequestError("row", f"{row} is out of range; the index has 0 to {index.table.num_rows - 1}")
        return index.header(row)

    def _index(self) -> Index:
        with self._named.hinting():
            return self._service.index(IndexRequest(self._named.name)).index

    def _preview(self, kind: Kind, image_format: str, options: dict[str, Any]) -> Preview:
        recipe = _Recipe(self, kind, _strings(options))
        rendered = recipe.make(ImageFormat.from_name(image_format, "image_format"))
        return Preview(rendered.data, rendered.image_format.media_type, rendered.report, recipe)

    def _rendered(self, recipe: _Recipe, image_format: ImageFormat) -> Rendered:
        arguments = (self._named.text, f"preview{image_format.extensions[0]}", recipe.options)
        with self._named.hinting():
            if recipe.kind == "mosaic":
                return self._service.mosaic(MosaicRequest.from_strings(*arguments))
            if recipe.kind == "image":
                return self._service.image(ImageRequest.from_strings(*arguments))
            return self._service.contrast_mosaic(ContrastRequest.from_strings(*arguments))


def _reopened(text: str, root: str, cache_dir: str | None) -> Series:
    return Series(text, root=root or None, cache_dir=cache_dir, cache=cache_dir is not None)


def open_cache(settings: Settings, root: Storage, *, optional: bool = True) -> IndexCache:
    """Open the local cache as the place for a root's indices; it is made where it is missing.

    Args:
        settings: The cache folder, its size, and concurrency.
        root: The root.
        optional: Where it cannot be made, read or written, indices are made without it.

    Raises:
        OutputError: It cannot be made.
    """
    kept = _cache_storage(settings, optional=optional)
    return IndexCache(kept, index_folder(root.identity), optional=optional)


def open_output(folder: Path, settings: Settings) -> IndexCache:
    """Open a local folder as the place for an index right in it; it is made where it is missing.

    Raises:
        OutputError: It cannot be made.
    """
    return IndexCache(LocalStorage(_made(folder), settings.concurrency or CONCURRENCY), "")


def open_api(roots: Mapping[str, str], settings: Settings, *, follow_links: bool = True) -> PreviewApi:
    """The HTTP API over some roots, with a local cache for indices and pictures.

    Args:
        roots: By alias, the URL of a root.
        settings: Concurrency, retries, limits and the cache folder.
        follow_links: Whether links may lead out of a local root.

    Raises:
        PreviewError: A root cannot be one or is not there, or the cache folder cannot be made.
    """
    # What shows one picture and ends does without: 7 ms.
    from dicom_series_preview.base.gate import Gate  # noqa: PLC0415
    from dicom_series_preview.web.http.api import PreviewApi, Renders  # noqa: PLC0415

    kept = _cache_storage(settings, optional=False)
    # This process's own: one that was killed keeps nobody out. Two of them may do the same twice.
    claims = MemoryStorage(url="memory://claims")
    services: dict[str, Callable[[], PreviewService]] = {}
    gates = {alias: Gate.for_machine(SERVED_BYTES // 2 // len(roots)) for alias in roots}
    for alias, root in roots.items():
        storage = open_storage(root, replace(settings, follow_links=follow_links), os.environ)
        _check_there(storage)
        service = PreviewService(
            storage,
            IndexCache(kept, index_folder(storage.identity), optional=True, claims=claims),
            settings.limits,
            single_flight=True,
            gate=gates[alias].passage,
        )
        services[alias] = partial(replace, service)
    return PreviewApi(
        services,
        Renders(kept, optional=True),
        SERVED_ANSWER_BYTES,
        limit_s=settings.limits.seconds,
        gates=gates,
    )


def _check_there(root: Storage) -> None:
    """Refuse a root that is not there; what else is wrong with one may pass, and is told to who asks.

    Raises:
        ObjectNotFoundError: There is no such folder or bucket.
    """
    # A web server may show nothing at its root, and the series below it all the same.
    if root.immutable or root.url.startswith("http"):
        return
    try:
        root.within(Deadline(_LOOK_S)).list_objects("", 0)
    except ObjectNotFoundError:
        raise
    except PreviewError as error:
        _LOGGER.info("a root cannot be listed as of now: %s", type(error).__name__)


def _cache_storage(settings: Settings, *, optional: bool = True) -> CacheFolder:
    """The cache folder, made where it is missing; an optional one that cannot be made tells when written."""
    concurrency = settings.concurrency or CONCURRENCY
    with suppress(OutputError) if optional else nullcontext():
        _made(settings.cache_dir)
    pixels = settings.limits.output_pixels
    return CacheFolder(settings.cache_dir, concurrency, settings.cache_bytes, picture_pixels=pixels)


def _made(folder: Path) -> Path:
    """A folder, that is there now."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(str(folder), f"the index's folder cannot be made: {error.strerror}") from error
    return folder


def _strings(options: dict[str, Any]) -> dict[str, list[str]]:
    """Options as a request is built from: text, several values of one option as a list."""
    return {
        name: [str(value) for value in values] if isinstance(values, (list, tuple)) else [str(values)]
        for name, values in options.items()
        if values is not None
    }
