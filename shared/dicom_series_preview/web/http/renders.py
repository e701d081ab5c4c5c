"""The store of rendered pictures: their paths, and how they are read and written."""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dicom_series_preview.archive.cache import excused
from dicom_series_preview.archive.names import series_digest
from dicom_series_preview.base.errors import ObjectNotFoundError

if TYPE_CHECKING:
    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.products.pictures.plan import Plan
    from dicom_series_preview.products.pictures.service import Rendered
    from dicom_series_preview.sources.storage.base import Storage

_LOGGER = logging.getLogger(__name__)
# The attributes of a stored picture.
_IDENTITY, _WARNINGS = "preview-identity", "preview-warnings"
_COUNT = re.compile("[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Renders:
    """The store of rendered pictures: one folder per series, so that they can be removed with it.

    Attributes:
        storage: The store's root.
        folder: Its folder.
        optional: Where the store cannot be read or written, pictures are made without it.
    """

    storage: Storage
    folder: str = "renders"
    optional: bool = False

    def of(self, opened: OpenedSeries) -> Renders | None:
        """Return the store where it keeps pictures of a series; None for one that lies in several folders.

        Whatever is kept must go with the folder whose objects it shows.
        """
        return self if len(opened.folders) == 1 else None

    def path(self, plan: Plan) -> str:
        """Return the path of a picture; its name reveals nothing about the series."""
        folder = self.folder_of(plan.opened.storage.url, plan.opened.name)
        return f"{folder}/{plan.identity}{plan.picture.image_format.extensions[0]}"

    def copy_path(self, opened: OpenedSeries, identity: str) -> str:
        """Return the path of a large index's copy for a link, among the pictures of its series.

        Args:
            opened: The series.
            identity: A digest of everything that decides the copy's bytes.
        """
        return f"{self.folder_of(opened.storage.url, opened.name)}/{identity}.parquet"

    def folder_of(self, root: str, series: str) -> str:
        """Return the folder of all pictures of a series.

        Args:
            root: The URL of the series' root.
            series: Its folder below the root.
        """
        return f"{self.folder}/{series_digest(root, series)}"


@dataclass(frozen=True, slots=True)
class KeptPicture:
    """A picture to answer with.

    Attributes:
        data: The file's bytes.
        warnings: The number of its warnings.
        failed_tiles: The number of tiles that could not be shown; a picture with any is not stored.
        render: `made` or `kept`.
    """

    data: bytes = field(repr=False)
    warnings: int
    failed_tiles: int
    render: str


def kept_picture(plan: Plan, renders: Renders | None) -> KeptPicture | None:
    """Return a stored picture, if it is complete."""
    if renders is None:
        return None
    fetched = None
    with excused(renders.storage, optional=renders.optional), suppress(ObjectNotFoundError):
        fetched = renders.storage.get(renders.path(plan))
    if fetched is None:
        return None
    warnings = fetched.attributes.get(_WARNINGS, "0")
    is_its_own = fetched.attributes.get(_IDENTITY) == plan.identity and _COUNT.fullmatch(warnings)
    if is_its_own and plan.picture.image_format.is_whole(fetched.data):
        return KeptPicture(fetched.data, int(warnings), 0, "kept")
    _LOGGER.warning("a kept picture is damaged, and made anew")
    return None


def keep(plan: Plan, rendered: Rendered, renders: Renders) -> None:
    """Store a picture with its identity and its number of warnings.

    Before a link is sent, the picture must be there.
    """
    attributes = {"Content-Type": rendered.image_format.media_type, _IDENTITY: plan.identity}
    if rendered.report.warnings:
        attributes[_WARNINGS] = str(len(rendered.report.warnings))
    with excused(renders.storage, optional=renders.optional):
        renders.storage.put(renders.path(plan), rendered.data, attributes=attributes)
