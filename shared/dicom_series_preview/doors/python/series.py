"""The Python door: a series, and pictures of it that a notebook shows."""

from __future__ import annotations

import base64
import io
import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from PIL import Image

from dicom_series_preview.archive.here import find
from dicom_series_preview.archive.local import open_cache, open_places
from dicom_series_preview.base.errors import ObjectChangedError, ObjectNotFoundError, RequestError
from dicom_series_preview.base.files import write_atomically
from dicom_series_preview.base.settings import Settings, absolute
from dicom_series_preview.doors.python.signatures import takes
from dicom_series_preview.products.pictures.formats import ImageFormat
from dicom_series_preview.products.pictures.options import (
    CONTRAST_MOSAIC,
    IMAGE,
    MOSAIC,
    ContrastMosaicOptions,
    ImageOptions,
    MosaicOptions,
)
from dicom_series_preview.products.pictures.requests import PICTURES, ImageRequest, IndexRequest
from dicom_series_preview.products.pictures.service import PreviewService, Rendered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray
    from pydicom import Dataset

    from dicom_series_preview.archive.index.index import Index
    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.doors.python.volume import Volume, VolumeChoices
    from dicom_series_preview.products.pictures.report import Report


_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Recipe:
    """The request of a picture, to make it again.

    Attributes:
        series: The series.
        kind: The kind of picture, as in `PICTURES`.
        options: The given options, by keyword.
    """

    series: Series
    kind: str
    options: dict[str, Any]

    def make(self) -> Rendered:
        """Make the picture.

        Raises:
            PreviewError: The series cannot be read, or an option is wrong.
        """
        return self.series._rendered(self)  # noqa: SLF001 - of this module

    def of_format(self, image_format: ImageFormat) -> _Recipe:
        """Return the same recipe with another format; a lossless one has no quality."""
        options = {**self.options, "image_format": image_format.extensions[0].removeprefix(".")}
        if image_format.lossless:
            options.pop("quality", None)
        return replace(self, options=options)


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture of a series, which a notebook shows; it can be pickled and sent to another process.

    Attributes:
        data: The file's bytes.
        media_type: `image/webp`, `image/jpeg` or `image/png`.
        report: The shown slices, the skipped objects, and the cost.
    """

    data: bytes = field(repr=False)
    media_type: str
    report: Report = field(repr=False)
    _recipe: _Recipe | None = field(default=None, repr=False, compare=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to a file, whole or not at all.

        If the file's extension has another format, the picture is rendered again in that one, so that it
        loses nothing twice.

        Raises:
            RequestError: The extension has no known format.
            OutputError: The file cannot be written.
            PreviewError: The picture has to be rendered again, and cannot be.
        """
        wanted, data = ImageFormat.from_path(path), self.data
        if wanted.media_type != self.media_type:
            if self._recipe is None:
                raise RequestError(
                    "path", f"the picture is {self.media_type}, and {Path(path).suffix} is not"
                )
            data = self._recipe.of_format(wanted).make().data
        write_atomically(Path(path), data)

    def pil(self) -> Image.Image:
        """Return the picture as a Pillow image, decoded."""
        with Image.open(io.BytesIO(self.data)) as image:
            image.load()
            return image

    def _repr_html_(self) -> str:
        text = base64.b64encode(self.data).decode("ascii")
        size = f'width="{self.report.width}" height="{self.report.height}"'
        return f'<img src="data:{self.media_type};base64,{text}" {size} alt="preview of a DICOM series">'


class Series:
    """A DICOM series, named as on the command line.

    Options of pictures have their names on the command line, in snake_case; `image_format` is its
    `--format`::

        series = Series("38902e14-b11f-4548-910e-771ee757dc82")
        series.mosaic(tile_width=4, contrast="lung")
        series.image(0.5, image_width=512).save("middle.webp")
        Series(Path("data/CT")).array(0.5)

    Args:
        name: A UUID, a UID, a folder below `root`, a prefix such as `389*`, a full URL, or a path of a folder
            or of one DICOM file: a `Path`, or text as on the command line (`./CT`, `CT/`, `../CT`).
        root: Storage root: `s3://`, `http(s)://`, `file://` or a folder. By default `s3://idc-open-data`.
        cache_dir: The folder of cached indices; the user's cache folder by default.
        cache: Cache indices, and use cached ones; False is the command line's `--no-cache`.

    Raises:
        PreviewError: The name or the root is invalid.
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
        self._service = PreviewService(storage, kept, settings.limits, places=open_places(settings, storage))
        self._text = text
        self._cache_dir = str(settings.cache_dir)

    def __repr__(self) -> str:
        return f"Series({self._text!r}, root={self._service.storage.url!r})"

    def __reduce__(self) -> tuple[Callable[..., Series], tuple[str, str, str | None]]:
        kept = None if self._service.cache is None else self._cache_dir
        # Unpickling opens everything again, including credentials.
        root = self._service.storage.url if self._named.name.root is None else ""
        return _reopened, (self._named.text, root, kept)

    @takes(MOSAIC)
    def mosaic(self, **options: Unpack[MosaicOptions]) -> Preview:
        """Make a grid of images spread evenly over the series.

        Raises:
            PreviewError: The series cannot be read, or an option is wrong.
        """
        return self._preview("mosaic", options)

    @takes(IMAGE)
    def image(self, position: float, **options: Unpack[ImageOptions]) -> Preview:
        """Make the image at a position.

        Raises:
            PreviewError: The series cannot be read, or an option is wrong.
        """
        return self._preview("image", {"position": position, **options})

    @takes(CONTRAST_MOSAIC)
    def contrast_mosaic(self, *contrasts: str, **options: Unpack[ContrastMosaicOptions]) -> Preview:
        """Make images under several contrasts: one row per image, one column per contrast.

        Raises:
            PreviewError: The series cannot be read, or an option is wrong.
        """
        return self._preview("contrast-mosaic", {"contrasts": contrasts, **options})

    def array(  # noqa: PLR0913 - the options of an image that measure
        self,
        position: float,
        *,
        slice_offset: int = 0,
        stack: int = 0,
        at: Sequence[str] = (),
        untile: bool = False,
        series_uid: str | None = None,
    ) -> NDArray[Any]:
        """Return the slice at a position as measured: before any window, at full size, padding included.

        Args:
            position: 0 (first) to 1 (last).
            slice_offset: Slices to move on from there.
            stack: The stack of the series.
            at: The places on the stack's further dimensions, as in `image`.
            untile: Take a slice in a Siemens mosaic.
            series_uid: The series, by SeriesInstanceUID, of a folder that holds several.

        Returns:
            Modality values (Hounsfield units for CT), shape (rows, columns): float64 where a slope or an
            intercept applies, else of the stored type. For a segmentation of type LABELMAP the stored labels.
            For colour uint8 RGB, (rows, columns, 3).

        Raises:
            PreviewError: The slice cannot be read.
        """
        options = {
            "position": position,
            "slice_offset": slice_offset,
            "stack": stack,
            "at": at,
            "untile": untile,
            "series_uid": series_uid,
        }
        asked = ImageRequest.from_values(self._named.text, options)
        with self._named.hinting():
            return self._service.values(asked)

    def volumes(self, **choices: Unpack[VolumeChoices]) -> dict[str, Any]:
        """Plan the volumes of the series: which there are, which not and why, and what they cost.

        No pixel is read. It is what `dicom-series-preview volumes --json` prints of a series.

        Args:
            **choices: What to make of it; docs/python.md says what each means.

        Raises:
            PreviewError: The series cannot be read, or a choice is wrong.
        """
        from dicom_series_preview.doors.python.volume import options_of  # noqa: PLC0415 - pictures need none
        from dicom_series_preview.products.volumes.plan import plan_document, plan_volumes  # noqa: PLC0415 - likewise

        return plan_document(plan_volumes(self._opened(), options_of(choices)))

    def volume(self, n: int = 0, **choices: Unpack[VolumeChoices]) -> Volume:
        """Read a volume of the series into memory: whole, every voxel where the headers say, or not at all.

        Args:
            n: Which of those that `volumes` lists.
            **choices: What to make of the series; docs/python.md says what each means.

        Raises:
            RefusedError: It is no volume; the text says why, and what to do.
            PreviewError: The series cannot be read, or a choice is wrong.
        """
        from dicom_series_preview.doors.python.volume import read_volume  # noqa: PLC0415 - pictures need none
        from dicom_series_preview.products.volumes.refusal import RefusedError  # noqa: PLC0415 - likewise

        limits = self._service.limits
        try:
            return read_volume(self._opened(), n, choices, limits)
        except (ObjectChangedError, ObjectNotFoundError):
            return read_volume(self._opened(refresh=True), n, choices, limits)
        except RefusedError as error:
            if error.code not in ("changed", "not_found"):
                raise
            return read_volume(self._opened(refresh=True), n, choices, limits)

    @property
    def table(self) -> pa.Table:
        """The index: a row per slice, in display order, stack after stack; docs/index.md has the columns."""
        return self._index().whole

    def facts(self, stack: int = 0) -> dict[str, Any]:
        """Return the dimensions and the geometry of a stack; docs/explain.md has the keys, which name units.

        Raises:
            RequestError: The stack does not exist.
        """
        from dicom_series_preview.archive.catalogue.facts import facts_document  # noqa: PLC0415 - pictures need none

        index = self._index()
        if stack not in index.stacks:
            numbers = ", ".join(map(str, index.stacks)) or "none"
            raise RequestError("stack", f"{stack} is none of this series' stacks: {numbers}")
        return facts_document(index, stack)

    def header(self, row: int) -> Dataset:
        """Return the header of the object of an index row, without long binary values.

        Raises:
            RequestError: The row does not exist.
        """
        index = self._index()
        if not 0 <= row < index.table.num_rows:
            raise RequestError("row", f"{row} is out of range; the index has 0 to {index.table.num_rows - 1}")
        return index.header(row)

    def _index(self) -> Index:
        return self._opened().index

    def _opened(self, *, refresh: bool = False) -> OpenedSeries:
        with self._named.hinting():
            return self._service.index(IndexRequest(self._named.name), refresh=refresh)

    def _preview(self, kind: str, options: Mapping[str, Any]) -> Preview:
        recipe = _Recipe(self, kind, dict(options))
        rendered = recipe.make()
        return Preview(rendered.data, rendered.image_format.media_type, rendered.report, recipe)

    def _rendered(self, recipe: _Recipe) -> Rendered:
        asked = PICTURES[recipe.kind].from_values(self._named.text, recipe.options)
        with self._named.hinting():
            return self._service.render(asked)


def _reopened(text: str, root: str, cache_dir: str | None) -> Series:
    return Series(text, root=root or None, cache_dir=cache_dir, cache=cache_dir is not None)
