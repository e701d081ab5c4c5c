"""The built-in sample: a synthetic CT series for trying everything, without a network or a patient.

A body from the neck to the thighs, on the back, head first, after contrast: 120 slices of 5 mm and their
localizer, in one folder. File names say nothing and InstanceNumber counts from the feet up, so only sorting
by position shows the series head to feet.
"""

from __future__ import annotations

import shutil
from io import BytesIO
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np

from dicom_sample.instances import Plan, axial, localizer, water_mm
from dicom_sample.phantom import Phantom, scan
from dicom_series_preview.base.errors import OutputError, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pydicom.dataset import FileDataset

SAMPLE_SERIES = "5a3b1e00-c7d1-4c0a-8e55-5eed00000001"
"""The name of the sample's series folder, and of the series."""


def write_sample(
    folder: Path,
    *,
    slices: int = 120,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the sample series, unless it already exists.

    The same slices, seed, product and numpy version give the same bytes on the same kind of processor.

    Args:
        folder: The storage root to write into; created if missing.
        slices: The number of axial slices. They always span the same 595 mm, so 120 of them touch each other.
        seed: Another seed is another patient, with other UIDs.
        progress: Called after each file with the files written and the files in all.

    Returns:
        The series folder, `folder / SAMPLE_SERIES`. It appears whole or not at all.

    Raises:
        RequestError: There is less than one slice, or the seed is negative.
        OutputError: The folder cannot be written, or holds other files under the sample's name.
    """
    if slices < 1:
        raise RequestError("slices", f"{slices} is too few; at least 1")
    if seed < 0:
        raise RequestError("seed", f"{seed} is negative; 0 or more")
    plan = Plan(slices, seed)
    series = folder / SAMPLE_SERIES
    unfinished = folder / f".{SAMPLE_SERIES}.{uuid4().hex}"
    try:
        if _is_there(series, plan):
            return series
        unfinished.mkdir(parents=True)
        try:
            _write_files(unfinished, plan, progress)
            if not _is_there(series, plan):  # another process can have been faster
                unfinished.rename(series)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise OutputError(str(series), f"cannot write the sample: {error.strerror or error}") from error
    return series


def _is_there(series: Path, plan: Plan) -> bool:
    """Return True where the complete sample exists; refuse other content, which is not ours to replace."""
    if not series.exists():
        return False
    if {path.name for path in series.iterdir()} >= plan.file_names:
        return True
    raise OutputError(str(series), "exists, but is not this sample; remove it or choose another folder")


def _write_files(folder: Path, plan: Plan, progress: Callable[[int, int], None] | None) -> None:
    phantom = Phantom(plan.seed)
    rows = []
    for index, depth in enumerate(plan.depths_mm):
        body = phantom.slice(depth)
        rows.append(water_mm(body))
        image = scan(body, depth, np.random.default_rng([plan.seed, 2, index]))
        _save(axial(plan, index, image), folder / plan.file_name(str(index)))
        if progress is not None:
            progress(index + 1, plan.slices + 1)
    _save(localizer(plan, rows), folder / plan.file_name("localizer"))
    if progress is not None:
        progress(plan.slices + 1, plan.slices + 1)


def _save(dataset: FileDataset, path: Path) -> None:
    # pydicom reports a failed write with the text of a trace.
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    path.write_bytes(stream.getvalue())
