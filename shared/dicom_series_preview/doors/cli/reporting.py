"""Run `volume-report`: a page about converted volumes, beside their source where it is given."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.here import Named
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.base.errors import (
    OutputError,
    RequestError,
    SeriesNameError,
    SeriesNotFoundError,
    counted,
)
from dicom_series_preview.base.files import told_of
from dicom_series_preview.doors.cli.console import answer, say
from dicom_series_preview.doors.cli.several import Job, Roots
from dicom_series_preview.products.pictures.requests import IndexRequest
from dicom_series_preview.products.volumes.reporting.found import find_outputs, with_outcomes
from dicom_series_preview.products.volumes.reporting.samples import Sampling, verified_all
from dicom_series_preview.products.volumes.reporting.source import NoSourceError, Source, source_of
from dicom_series_preview.products.volumes.reporting.write import write_report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.products.volumes.reporting.found import Found, Output


def run_volume_report(folder: str, page: str, options: Mapping[str, Any]) -> None:
    """Run `volume-report`.

    Raises:
        PreviewError: The folder cannot be read, an option is wrong, or a file cannot be written.
    """
    target = Path(page)
    if target.suffix.lower() not in (".html", ".htm"):
        raise RequestError("output", f"the page's name ends with .html, as {target.stem}.html does")
    outcomes = [one for path in options["outcomes"] for one in _outcomes(path)]
    try:
        outputs = list(find_outputs(Path(folder)))
    except OSError as error:
        raise OutputError(folder, told_of(error)) from error
    found = _joined(outputs, outcomes, options)
    if options["verify"]:
        found = verified_all(found)
    sampling = Sampling(options["samples"], options["slices"])
    if options["root"] is not None:
        sources = _Sources(Roots(options), options["no_cache"], options["root"])
        sampling = Sampling(options["samples"], options["slices"], sources.of)
    facts = write_report(found, sampling, Path(folder).resolve().name or folder, target)
    if options["as_json"]:
        answer(json.dumps(facts, indent=2, ensure_ascii=False))
    elif not options["quiet"]:
        totals = facts["totals"]
        told = f"{counted(totals['volumes'], 'volume')}, {totals['failed']} failed"
        say(f"{page}: {told}, {totals['refused']} refused, {counted(len(facts['samples']), 'sample')}")


def _outcomes(path: str) -> Sequence[Mapping[str, Any]]:
    """Read what `convert --report` wrote."""
    try:
        found = json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise OutputError(path, told_of(error)) from error
    except ValueError as error:
        raise _not_outcomes(path) from error
    if not isinstance(found, list):
        raise _not_outcomes(path)
    return found


def _joined(
    outputs: Sequence[Any], outcomes: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
) -> Found:
    try:
        found = with_outcomes(outputs, outcomes)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _not_outcomes(", ".join(options["outcomes"])) from error
    return found


def _not_outcomes(path: str) -> RequestError:
    return RequestError("outcomes", f"{path} is not what `convert --report FILE` writes")


@dataclass(frozen=True, slots=True)
class _Sources:
    """Finds the sources of volumes below a root; each series is opened once.

    Attributes:
        roots: Opens them.
        no_cache: Keep no index and use none.
        root: The root. No name leads out of it.
        opened: The series that have been opened, by name.
    """

    roots: Roots
    no_cache: bool
    root: str
    opened: dict[str, OpenedSeries] = field(default_factory=dict)

    def of(self, output: Output) -> Source:
        """Find the source of a volume.

        Raises:
            NoSourceError: It is not there, or no longer what it was.
            PreviewError: It cannot be read.
        """
        changed: NoSourceError | None = None
        for name in output.series_names:
            try:
                return source_of(output.receipt, self._open(name), self.roots.settings.limits)
            except (SeriesNameError, SeriesNotFoundError):
                continue
            except NoSourceError as error:
                changed = error
        raise changed or NoSourceError("its series is not below the root")

    def _open(self, text: str) -> OpenedSeries:
        if text not in self.opened:
            name = SeriesName.parse(text)
            if name.root is not None or name.is_prefix:
                raise SeriesNameError("it leads out of the root")
            job = Job(text, Named(text, self.root), name)
            service = self.roots.service(job, lambda _done, _total: None, no_cache=self.no_cache)
            self.opened[text] = service.index(IndexRequest(name))
        return self.opened[text]
