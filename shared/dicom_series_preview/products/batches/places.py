"""The paths of batches' files, below the data storage.

batches/ID/request.json           the request
batches/ID/items.json             its series, which the map reads
batches/ID/outcomes/NN/DIGEST.json  the outcome of one series
batches/ID/failure.json           why it could not begin
batches/ID/summary.json           its result, beside outcomes.parquet
batches/mosaics/DIGEST/ID.webp    the mosaics of one series, of all batches
batches/mosaics/DIGEST/ID-UID.webp  of one SeriesInstanceUID of the folder, by a digest of it
batches/mosaics/DIGEST/ID-UID.OTHER  a mark: a mosaic below OTHER shows objects of this folder, too
batches/ID/too_large_here.csv     a manifest for `convert`: series too large for the functions, if any
volumes/DIGEST/...                the volumes of one series, of all batches
volumes/DIGEST/OTHER.mark         volumes below OTHER have objects of this folder, too
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from dicom_series_preview.archive.names import series_digest
from dicom_series_preview.base.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH_FOLDER = "batches"
VOLUME_FOLDER = "volumes"
_VOLUME_MARK = re.compile(r".+/([0-9a-f]{32})\.mark")
_MARK = re.compile(r"(.+)/[0-9a-f]{32}/([^/.]+)\.([0-9a-f]{32})")
_BATCH_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def is_batch_id(text: str) -> bool:
    """Return True where a text can be the identifier of a batch."""
    return _BATCH_ID.fullmatch(text) is not None


def check_batch_id(batch: str) -> str:
    """Return the identifier of a batch, checked.

    Raises:
        RequestError: The text is no identifier.
    """
    if not is_batch_id(batch):
        raise RequestError("batch", "is the identifier of a batch")
    return batch


def folder_of(batch: str) -> str:
    """Return the folder of a batch.

    Raises:
        RequestError: The text is no identifier.
    """
    return f"{BATCH_FOLDER}/{check_batch_id(batch)}"


def outcomes_folder(batch: str) -> str:
    """Return the folder of the outcomes of a batch's series."""
    return f"{folder_of(batch)}/outcomes"


def outcome_path(batch: str, series: str) -> str:
    """Return the path of the outcome of one series, without the series' name."""
    digest = hashlib.sha256(series.encode()).hexdigest()[:32]
    return f"{outcomes_folder(batch)}/{digest[:2]}/{digest}.json"


def mosaics_folder(root: str, series: str) -> str:
    """Return the folder of a series' mosaics from all batches, so that they can be removed with it.

    Args:
        root: The URL of the series' root.
        series: Its folder below the root.
    """
    return f"{BATCH_FOLDER}/mosaics/{series_digest(root, series)}"


def mosaic_paths(batch: str, root: str, folders: Sequence[str], series_uid: str) -> tuple[str, list[str]]:
    """Return the path of a mosaic, and of its marks: it goes with any of the folders whose objects it shows.

    Args:
        batch: The batch.
        root: The URL of the series' root.
        folders: The folders that the series lies in.
        series_uid: The one SeriesInstanceUID that it is of what they hold; empty where it is all.
    """
    first, *others = folders
    name = f"{batch}-{hashlib.sha256(series_uid.encode()).hexdigest()[:32]}" if series_uid else batch
    marks = [f"{mosaics_folder(root, other)}/{name}.{series_digest(root, first)}" for other in others]
    return f"{mosaics_folder(root, first)}/{name}.webp", marks


def marked_mosaic(path: str) -> str | None:
    """Return the mosaic that a mark stands for; None for any other path."""
    found = _MARK.fullmatch(path)
    return f"{found[1]}/{found[3]}/{found[2]}.webp" if found is not None else None


def volumes_folder(root: str, folders: Sequence[str], series_uid: str) -> tuple[str, list[str]]:
    """Return the folder of a series' volumes from all batches, and its marks, as of a mosaic.

    Args:
        root: The URL of the series' root.
        folders: The folders that the series lies in.
        series_uid: The one SeriesInstanceUID that it is of what they hold; empty where it is all.
    """
    digest = series_digest(root, series_uid or folders[0])
    others = folders if series_uid else folders[1:]
    marks = [f"{VOLUME_FOLDER}/{series_digest(root, other)}/{digest}.mark" for other in others]
    return f"{VOLUME_FOLDER}/{digest}", marks


def marked_volumes(path: str) -> str | None:
    """Return the folder of volumes that a mark stands for; None for any other path."""
    found = _VOLUME_MARK.fullmatch(path)
    return (
        f"{VOLUME_FOLDER}/{found[1]}" if found is not None and path.startswith(f"{VOLUME_FOLDER}/") else None
    )
