"""The Python door: a series, and its pictures as a notebook shows them."""

from __future__ import annotations

import base64
import os
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_series_preview.cache import CacheFolder
from dicom_series_preview.encode import ImageFormat, write_atomically
from dicom_series_preview.errors import OutputError, RequestError
from dicom_series_preview.names import SeriesName, index_folder
from dicom_series_preview.requests import ContrastRequest, ImageRequest, IndexRequest, MosaicRequest
from dicom_series_preview.series import IndexCache
from dicom_series_preview.service import PreviewService, Rendered, Report
from dicom_series_preview.settings import DEFAULT_ROOT, SERVED_ANSWER_BYTES, SERVED_BYTES, Settings
from dicom_series_preview.storage import CONCURRENCY, LocalStorage, MemoryStorage, open_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa
    from pydicom import Dataset

    from dicom_series_preview.http import PreviewApi
    from dicom_series_preview.index import Index
    from dicom_series_preview.storage import Storage


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture of a series; a notebook shows it.

    Attributes:
        data: The file's bytes.
        media_type: `image/webp` or `image/jpeg`.
        report: What is shown, what was skipped, and what it cost.
    """

    data: bytes = field(repr=False)
    media_type: str
    report: Report = field(repr=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to a file, whole or not at all.

        Raises:
            RequestError: The extension is of another format than the picture.
            OutputError: It cannot be written.
        """
        wanted = ImageFormat.from_path(path)
        if wanted.media_type != self.media_type:
            raise RequestError("path", f"the picture is {self.media_type}, and {Path(path).suffix} is not")
        write_atomically(Path(path), self.data)

    def _repr_html_(self) -> str:
        text = base64.b64encode(self.data).decode("ascii")
        size = f'width="{self.report.width}" height="{self.report.height}"'
        return f'<img src="data:{self.media_type};base64,{text}" {size} alt="preview of a DICOM series">'


class Series:
    """A DICOM series, named as on the command line.

    Options are those of the command line in snake_case, and take the same values, numbers included::

        series = Series("38902e14-b11f-4548-910e-771ee757dc82")
        series.mosaic(tile_width=4, contrast="lung")
        series.image(0.5, image_width=512).save("middle.webp")

    Args:
        name: A UUID, a UID, a folder below `root`, a prefix such as `389*`, or a full URL or absolute path.
        root: Storage root: `s3://`, `http(s)://`, `file://` or a folder.
        cache_dir: Where indices are kept; the user's cache folder by default.
        cache: Keep indices, and use those that are kept.

    Raises:
        PreviewError: The name or the root cannot be one.
    """

    def __init__(
        self,
        name: str,
        *,
        root: str | os.PathLike[str] = DEFAULT_ROOT,
        cache_dir: str | os.PathLike[str] | None = None,
        cache: bool = True,
    ) -> None:
        settings = Settings.from_environment(os.environ, Path(cache_dir) if cache_dir else None)
        self._name = SeriesName.parse(name)
        storage = open_storage(self._name.root or os.fspath(root), settings, os.environ)
        kept = open_cache(settings, storage) if cache else None
        self._service = PreviewService(storage, kept, settings.limits)
        self._text = name

    def __repr__(self) -> str:
        return f"Series({self._text!r}, root={self._service.storage.url!r})"

    def mosaic(self, *, image_format: str = "webp", **options: Any) -> Preview:  # noqa: ANN401 - see the class
        """A grid of images spread evenly over the series.

        Args:
            image_format: `webp` or `jpeg`.
            **options: tile_width, tile_height, start, end, contrast, image_width, quality, stack, untile,
                overlays, labels.

        Raises:
            PreviewError: It cannot be had.
        """
        request = MosaicRequest.from_strings(self._text, f"preview.{image_format}", _strings(options))
        return _preview(self._service.mosaic, request)

    def image(self, position: float, *, image_format: str = "webp", **options: Any) -> Preview:  # noqa: ANN401
        """The image at a position, 0 (first) to 1 (last).

        Args:
            position: Where.
            image_format: `webp` or `jpeg`.
            **options: slice_offset, contrast, image_width, quality, stack, untile,
                overlays, labels.

        Raises:
            PreviewError: It cannot be had.
        """
        given = _strings({**options, "position": position})
        return _preview(
            self._service.image, ImageRequest.from_strings(self._text, f"preview.{image_format}", given)
        )

    def contrast_mosaic(self, *contrasts: str, image_format: str = "webp", **options: Any) -> Preview:  # noqa: ANN401
        """Images under several contrasts: a row an image, a column a contrast.

        Args:
            *contrasts: The columns, such as `lung`, `1500/-500`, `auto`.
            image_format: `webp` or `jpeg`.
            **options: position and slice_offset, or start, end and tile_height; image_width, quality, stack,
                untile, overlays, labels.

        Raises:
            PreviewError: It cannot be had.
        """
        given = _strings({**options, "contrast": contrasts})
        request = ContrastRequest.from_strings(self._text, f"preview.{image_format}", given)
        return _preview(self._service.contrast_mosaic, request)

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
        return self._service.index(IndexRequest(self._name)).index


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
        PreviewError: A root cannot be one, or the cache folder cannot be made.
    """
    # What shows one picture and ends does without: 7 ms.
    from dicom_series_preview.gate import Gate  # noqa: PLC0415
    from dicom_series_preview.http import PreviewApi, Renders  # noqa: PLC0415

    kept = _cache_storage(settings, optional=False)
    # This process's own: one that was killed keeps nobody out. Two of them may do the same twice.
    claims = MemoryStorage(url="memory://claims")
    services: dict[str, Callable[[], PreviewService]] = {}
    gates = {alias: Gate.for_machine(SERVED_BYTES // 2 // len(roots)) for alias in roots}
    for alias, root in roots.items():
        storage = open_storage(root, replace(settings, follow_links=follow_links), os.environ)
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


def _cache_storage(settings: Settings, *, optional: bool = True) -> CacheFolder:
    """The cache folder, made where it is missing; an optional one that cannot be made tells when written."""
    concurrency = settings.concurrency or CONCURRENCY
    with suppress(OutputError) if optional else nullcontext():
        _made(settings.cache_dir)
    return CacheFolder(settings.cache_dir, concurrency, settings.cache_bytes)


def _made(folder: Path) -> Path:
    """A folder, that is there now."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(str(folder), f"the index's folder cannot be made: {error.strerror}") from error
    return folder


def _preview(render: Callable[[Any], Rendered], request: object) -> Preview:
    rendered = render(request)
    return Preview(rendered.data, rendered.image_format.media_type, rendered.report)


def _strings(options: dict[str, Any]) -> dict[str, list[str]]:
    """Options as a request is built from: text, several values of one option as a list."""
    return {
        name: [str(value) for value in values] if isinstance(values, (list, tuple)) else [str(values)]
        for name, values in options.items()
        if values is not None
    }
