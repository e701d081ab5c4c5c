"""Rendered pictures that are kept: their place, and how they are read and written."""

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
    from dicom_series_preview.archive.open import OpenedSeries
    from dicom_series_preview.products.pictures.plan import Plan
    from dicom_series_preview.products.pictures.service import Rendered
    from dicom_series_preview.sources.storage.base import Storage

_LOGGER = logging.getLogger(__name__)
# What is kept with a picture.
_IDENTITY, _WARNINGS = "preview-identity", "preview-warnings"
_COUNT = re.compile("[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Renders:
    """Where rendered pictures are kept: all of a series in one folder, so that they can be removed with it.

    Attributes:
        storage: The root they lie below.
        folder: Their folder.
        optional: Where they cannot be read or written, pictures are made without them.
    """

    storage: Storage
    folder: str = "renders"
    optional: bool = False

    def path(self, plan: Plan) -> str:
        """The place of a picture; its name tells nothing of the series."""
        folder = self.folder_of(plan.opened.storage.url, plan.opened.name)
        return f"{folder}/{plan.identity}{plan.picture.image_format.extensions[0]}"

    def copy_path(self, opened: OpenedSeries, identity: str) -> str:
        """The place of the copy of a large index that is handed out: it goes with the pictures of its series.

        Args:
            opened: The series.
            identity: A digest of all that decides the copy's bytes.
        """
        return f"{self.folder_of(opened.storage.url, opened.name)}/{identity}.parquet"

    def folder_of(self, root: str, series: str) -> str:
        """The folder of all pictures of a series.

        Args:
            root: The URL of the series' root.
            series: Its folder below the root.
        """
        return f"{self.folder}/{series_digest(root, series)}"


@dataclass(frozen=True, slots=True)
class KeptPicture:
    """A picture to be answered with.

    Attributes:
        data: The file's bytes.
        warnings: How many there are of it.
        failed_tiles: How many tiles could not be shown; one that has any is not kept.
        render: `made` or `kept`.
    """

    data: bytes = field(repr=False)
    warnings: int
    failed_tiles: int
    render: str


def kept_picture(plan: Plan, renders: Renders | None) -> KeptPicture | None:
    """A picture as it was made before, where it is kept whole."""
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
    """Keep a picture, which one it is, and how many warnings there are of it.

    Where a link is answered it must be there.
    """
    attributes = {"Content-Type": rendered.image_format.media_type, _IDENTITY: plan.identity}
    if rendered.report.warnings:
        attributes[_WARNINGS] = str(len(rendered.report.warnings))
    with excused(renders.storage, optional=renders.optional):
        renders.storage.put(renders.path(plan), rendered.data, attributes=attributes)
