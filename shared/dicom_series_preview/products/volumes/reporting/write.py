"""Make the three files of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dicom_series_preview.base.files import write_atomically
from dicom_series_preview.products.volumes.reporting.page import as_csv, as_html, as_json, facts_of, told_of
from dicom_series_preview.products.volumes.reporting.samples import take_samples

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_series_preview.products.volumes.reporting.found import Found
    from dicom_series_preview.products.volumes.reporting.samples import Sampling


def write_report(found: Found, sampling: Sampling, title: str, page: Path) -> dict[str, Any]:
    """Write a page, and beside it the same as .json and .csv; return what the JSON has.

    Args:
        found: The run.
        sampling: How samples are taken.
        title: What the run is called.
        page: The page's path.

    Raises:
        OutputError: A file cannot be written.
    """
    # Each is drawn at once: pictures are small, and volumes are not.
    samples = [told_of(one) for one in take_samples(found, sampling)]
    facts = facts_of(found, samples)
    write_atomically(page.with_suffix(".json"), as_json(facts))
    write_atomically(page.with_suffix(".csv"), as_csv(facts))
    write_atomically(page, as_html(title, facts, samples))
    return facts
