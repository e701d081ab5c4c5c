"""The Python door to an archive: its catalogue, and its series by name."""

from __future__ import annotations

import html
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.catalogue.place import catalogue_storage
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.base.errors import PreviewError
from dicom_series_preview.base.settings import DEFAULT_ROOT, Settings
from dicom_series_preview.doors.python.series import Series
from dicom_series_preview.products.catalogue.asking import Asking, SeriesQuery
from dicom_series_preview.products.catalogue.output import plain
from dicom_series_preview.products.catalogue.updating import folders_of, open_updater, reindexer
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.sources.storage.open import open_storage

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from dicom_series_preview.archive.catalogue.update import UpdateSummary

_SHOWN = ("Modality", "StudyDate", "SeriesDescription", "Slices", "Dimensions", "SeriesInstanceUID")
_THUMBNAIL = {"tile_width": 1, "tile_height": 1, "image_width": 96}


class Archive:
    """A root of DICOM series, and the catalogue of what is in it.

    A notebook shows an archive as a table with a picture of each series::

        archive = Archive("/data/dicom")
        archive.update()
        archive.series("Modality = 'CT' AND Slices > 100").to_pandas()
        archive["1.3.6.1.4.1.14519.5.2.1.1"].mosaic(contrast="lung")

    Args:
        root: Storage root: `s3://`, `http(s)://`, `file://` or a folder. By default `s3://idc-open-data`.
        cache_dir: The place of indices and catalogue, a folder or `s3://`: by default the
            user's cache folder.

    `DICOM_SERIES_PREVIEW_IDENTIFIERS` decides what is shown of patients: all by default; see docs/privacy.md.

    Raises:
        PreviewError: The root, the place or a setting is invalid.
    """

    def __init__(
        self, root: str | os.PathLike[str] = DEFAULT_ROOT, *, cache_dir: str | os.PathLike[str] | None = None
    ) -> None:
        place = None if cache_dir is None else os.fspath(cache_dir)
        is_url = place is not None and "://" in place
        self._settings = Settings.from_environment(
            os.environ, Path(place) if place is not None and not is_url else None
        )
        self._root = os.fspath(root)
        self._storage = open_storage(self._root, self._settings, os.environ)
        self._place = place
        self._kept = catalogue_storage(place, self._settings, os.environ, create=False)
        self._cache_dir = None if is_url else place

    def __repr__(self) -> str:
        return f"Archive({self._storage.url!r})"

    def update(self, *series: str, rebuild: bool = False) -> UpdateSummary:
        """Bring the catalogue up to date: index what is new or changed, forget what is gone.

        Args:
            *series: Only these folders, or all with a prefix such as `ct-*`; the whole root without any.
            rebuild: Make every row anew, also where the table is broken.

        Returns:
            How many series are new, changed, unchanged and gone, and why others have no index.

        Raises:
            PreviewError: The root cannot be listed, or the catalogue cannot be written.
        """
        running = Deadline()
        root = self._storage.within(running.begin())
        kept = catalogue_storage(self._place, self._settings, os.environ)
        updater = open_updater(root, kept, self._settings.limits, os.environ, running)
        try:
            names = [SeriesName.parse(name) for name in series]
            return updater.run(updater.plan(folders_of(names, root), rebuild=rebuild))
        finally:
            running.abandon()

    def series(
        self,
        where: str | None = None,
        *,
        columns: str | Sequence[str] | None = None,
        sort: str | Sequence[str] | None = None,
        limit: int | None = None,
    ) -> pa.Table:
        """List the series, a row each; docs/catalogue.md has the columns.

        Args:
            where: A condition in SQL, such as `Modality = 'CT' AND Slices > 100`.
            columns: The columns, a list or separated by commas; all by default.
            sort: Columns to sort by, likewise; `-NAME` descends. By default the newest study is first.
            limit: The most rows.

        Raises:
            RequestError: A column is unknown, the condition is wrong, or the catalogue has series of other
                roots only.
            TypeError: Columns or order are neither a text nor a list.
            CatalogueError: There is no catalogue yet, or it cannot be read.
        """
        asked = SeriesQuery.from_strings(self._storage.url, where, columns, sort, limit)
        return self._asking().series(asked)

    def _asking(self) -> Asking:
        again = reindexer(self._kept, self._settings, os.environ)
        return Asking(self._kept, self._settings.identifiers, again, _warn)

    def query(self, sql: str, *, where: str | None = None) -> pa.Table:
        """Answer SQL over `series`, and over `slices`: what the indices have of its series, a row a frame.

        An index that the cache has lost is made anew, with a warning; another warning names the series of
        which that cannot be.

        Args:
            sql: A SELECT.
            where: Which series `slices` has the rows of: a condition in SQL; all by default.

        Raises:
            RequestError: The question is wrong.
            CatalogueError: There is no catalogue yet, or it cannot be read.
        """
        return self._asking().sql(sql, self._storage.url, where)

    def gallery(self, where: str | None = None, *, limit: int = 20) -> Gallery:
        """Return series as a notebook shows them: a row each, with the middle image.

        Raises:
            RequestError: The condition is wrong.
            CatalogueError: There is no catalogue yet, or it cannot be read.
        """
        return Gallery(self, self.series(where, limit=limit))

    def __getitem__(self, name: str) -> Series:
        """Return a series by SeriesInstanceUID, folder or prefix; nothing is read yet.

        Raises:
            SeriesNameError: The text cannot name a series.
        """
        return Series(name, root=self._root, cache_dir=self._cache_dir)

    def _repr_html_(self) -> str:
        try:
            return self.gallery()._repr_html_()
        except PreviewError as error:
            return f"<p>{html.escape(repr(self))}: {html.escape(str(error))}</p>"


@dataclass(frozen=True, slots=True)
class Gallery:
    """Series with a picture each, for a notebook.

    Attributes:
        archive: Their archive.
        table: Their rows.
    """

    archive: Archive
    table: pa.Table = field(repr=False)

    def _repr_html_(self) -> str:
        heads = "".join(f"<th>{name}</th>" for name in _SHOWN)
        rows = "".join(self._row(row) for row in self.table.to_pylist())
        return f"<table><tr><th></th>{heads}</tr>{rows}</table>"

    def _row(self, row: dict[str, Any]) -> str:
        cells = "".join(f"<td>{html.escape(_text(row[name]))}</td>" for name in _SHOWN)
        return f"<tr><td>{self._picture(row)}</td>{cells}</tr>"

    def _picture(self, row: dict[str, Any]) -> str:
        """The series' picture; why there is none, where there is none."""
        try:
            series = self.archive[row["SeriesInstanceUID"] or row["Series"]]
            return series.mosaic(**_THUMBNAIL)._repr_html_()  # type: ignore[arg-type]
        except PreviewError as error:
            return f'<span title="{html.escape(str(error))}">no picture</span>'


def _warn(line: str) -> None:
    # The caller of `Archive.query`, past `Asking` and this.
    warnings.warn(line, stacklevel=6)


def _text(value: Any) -> str:  # noqa: ANN401 - a cell
    return "" if value is None else str(plain(value))
