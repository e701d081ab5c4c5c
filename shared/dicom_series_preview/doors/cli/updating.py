"""Run `update`: show its progress, and say what it did and what it cost."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.catalogue.place import catalogue_storage
from dicom_series_preview.archive.here import find
from dicom_series_preview.base.errors import counted
from dicom_series_preview.base.settings import DEFAULT_ROOT
from dicom_series_preview.doors.cli.console import Progress, answer, say
from dicom_series_preview.doors.cli.opening import settings_of
from dicom_series_preview.products.catalogue.updating import folders_of, open_updater
from dicom_series_preview.sources.storage.base import Usage, total
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.sources.storage.open import open_storage
from dicom_series_preview.sources.storage.prices import dollars

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dicom_series_preview.archive.catalogue.update import UpdatePlan, UpdateSummary
    from dicom_series_preview.sources.storage.base import Storage

_MOST_FAILURES = 20


def run_update(typed: Sequence[str], options: Mapping[str, Any], environment: Mapping[str, str]) -> bool:
    """Run `update`.

    Args:
        typed: Series' names; all series of the root without any.
        options: The command's.
        environment: The variables of settings and credentials.

    Returns:
        True where every series has an index.

    Raises:
        PreviewError: The root cannot be listed, or the catalogue cannot be written.
    """
    place = options["cache_dir"]
    settings = settings_of({} if place and "://" in place else options)
    running = Deadline()
    root = open_storage(options["root"] or DEFAULT_ROOT, settings, environment).within(running.begin())
    names = [find(text, options["root"] or DEFAULT_ROOT, environment).name for text in typed]
    folders = folders_of(names, root)
    kept = catalogue_storage(place, settings, environment)
    updater = open_updater(root, kept, settings.limits, environment, running)
    summary = None
    with Progress(quiet=options["quiet"]) as progress:
        try:
            plan = updater.plan(folders, rebuild=options["rebuild"])
            summary = None if options["dry_run"] else replace(updater, progress=progress).run(plan)
        finally:
            running.abandon()
    if summary is None:
        _tell_plan(plan, root, options)
        return True
    _tell(summary, root, kept, options)
    return not summary.failed


def _tell_plan(plan: UpdatePlan, root: Storage, options: Mapping[str, Any]) -> None:
    """Say what an update would do: at most a request or two for each object."""
    usage = Usage(
        gets=plan.objects + len(plan.new) + len(plan.changed), puts=len(plan.new) + len(plan.changed)
    )
    facts = {
        "new": len(plan.new),
        "changed": len(plan.changed),
        "unchanged": plan.unchanged,
        "gone": len(plan.gone),
        "loose": plan.loose,
        "objects": plan.objects,
        "dollars": round(dollars(usage), 6) if root.url.startswith("s3://") else 0.0,
    }
    if options["as_json"]:
        answer(json.dumps(facts, indent=2))
        return
    cost = f", some ${facts['dollars']:.4f}" if root.url.startswith("s3://") else ""
    say(
        f"{facts['new']} new, {facts['changed']} changed, {facts['gone']} gone, "
        f"{facts['unchanged']} unchanged; an update would read at most "
        f"{counted(plan.objects, 'header')}{cost}; nothing was done"
    )


def _tell(summary: UpdateSummary, root: Storage, kept: Storage, options: Mapping[str, Any]) -> None:
    """Say what an update did."""
    usage = total([root.usage, kept.usage] if kept.url.startswith("s3://") else [root.usage])
    is_s3 = root.url.startswith("s3://") or kept.url.startswith("s3://")
    if options["as_json"]:
        document = {
            "new": summary.new,
            "changed": summary.changed,
            "unchanged": summary.unchanged,
            "gone": summary.gone,
            "failed": [{"series": name, "problem": problem} for name, problem in summary.failed.items()],
            "loose": summary.loose,
            "unjoined": summary.unjoined,
            "headers": summary.headers,
            "commits": summary.commits,
            "requests": {"list": usage.lists, "get": usage.gets, "put": usage.puts},
            "bytes": usage.bytes,
            "dollars": round(dollars(usage), 6) if is_s3 else 0.0,
        }
        answer(json.dumps(document, indent=2))
        return
    for name, problem in list(summary.failed.items())[:_MOST_FAILURES]:
        say(f"failed   {name}: {problem}")
    if len(summary.failed) > _MOST_FAILURES:
        more = len(summary.failed) - _MOST_FAILURES
        say(f'failed   and {more} more; `list --where "Problem IS NOT NULL"` shows all')
    if summary.passed:
        count = counted(summary.passed, "folder")
        say(f"warning: {count} of which another update has written later rows meanwhile stayed so")
    if summary.unjoined:
        say(
            f"warning: {counted(summary.unjoined, 'SeriesInstanceUID')} in several folders could not be "
            "measured as a whole, and rows can describe a part; another update tries again"
        )
    if summary.loose:
        say(
            f"warning: {counted(summary.loose, 'object')} right in {root.url} "
            f"{'belongs' if summary.loose == 1 else 'belong'} to no series' folder; "
            "the folder above as --root takes them in"
        )
    if not options["quiet"]:
        cost = f", ${dollars(usage):.4f}" if is_s3 else ""
        say(
            f"{summary.new} new, {summary.changed} changed, {summary.gone} gone, "
            f"{summary.unchanged} unchanged, {len(summary.failed)} failed; "
            f"{counted(summary.headers, 'header')} read, "
            f"{counted(usage.lists + usage.gets + usage.puts, 'request')}, {usage.bytes / 1e6:.1f} MB{cost}"
        )
