"""The series that `convert` takes, typed or from a manifest; and run `manifest`."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from dicom_series_preview.archive.catalogue.place import catalogue_storage
from dicom_series_preview.archive.catalogue.snapshot import Filter, SnapshotReader
from dicom_series_preview.base.errors import (
    NoCatalogueError,
    ObjectNotFoundError,
    RequestError,
    counted,
    quoted,
)
from dicom_series_preview.doors.cli.console import answer, say
from dicom_series_preview.doors.cli.opening import settings_of
from dicom_series_preview.products.volumes.fleet.manifest import (
    FROM_CATALOGUE,
    Place,
    Shard,
    found_in,
    hash_in,
    known_of,
    manifest_files,
    name_in,
    rows_of,
    series_hash,
)
from dicom_series_preview.products.volumes.upload import folder_and_name, open_outputs
from dicom_series_preview.sources.storage.base import is_path
from dicom_series_preview.sources.storage.open import open_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dicom_series_preview.base.settings import Settings
    from dicom_series_preview.doors.cli.several import Job, Roots
    from dicom_series_preview.products.volumes.fleet.manifest import Found
    from dicom_series_preview.sources.storage.base import Storage

_ROOTS = {"v1": "DATASET_V1_ROOT", "v2": "DATASET_V2_ROOT"}


@dataclass(frozen=True, slots=True)
class Task:
    """A series to convert.

    Attributes:
        shown: What it is called in lines.
        known: What a manifest says of it.
        name: What it is called below its root.
        root: Its root; None for the command's.
        output: What its outputs are called; empty for the series' own name.
        found: It, where it was looked for already.
    """

    shown: str
    known: Mapping[str, Any]
    name: str
    root: str | None = None
    output: str = ""
    found: Job | None = field(default=None, repr=False)

    def jobs(self, roots: Roots) -> list[Job]:
        """Return it as one series to open.

        Raises:
            PreviewError: Its name is none, or a prefix of several.
        """
        if self.found is not None:
            return [self.found]
        if self.output and not is_path(self.output):
            raise RequestError("manifest", f"{quoted(self.shown)} is no path below a root")
        jobs = roots.meant(self.name, self.root)
        if len(jobs) != 1:
            raise RequestError("manifest", f"{quoted(self.name)} is the beginning of several series' names")
        return jobs


def tasks_of(
    roots: Roots,
    typed: Sequence[str],
    options: Mapping[str, Any],
    failed: Callable[[str, Exception], object],
) -> list[Task]:
    """Return the series to convert: those that were typed, or a manifest's, or a shard of these.

    Args:
        roots: Opens them.
        typed: The names that were typed.
        options: The command's.
        failed: Called with a name that was typed, and why it means no series.

    Raises:
        PreviewError: A name or an option is wrong, or the manifest cannot be read.
    """
    if options["manifest"] is None:
        tasks = [_typed(job, options) for job in roots.jobs(typed, failed)]
    else:
        rows = rows_of(_text_of(options["manifest"], roots.settings))
        tasks = [_of_row(row, options["root"]) for row in rows]
    shard = _shard(options)
    tasks = tasks if shard is None else [one for one in tasks if shard.holds(one.known)]
    return tasks[: options["limit"]] if options["limit"] else tasks


def _typed(job: Job, options: Mapping[str, Any]) -> Task:
    dataset = os.environ.get("DATASET_NAME") or Path(options["root"] or "").name
    known = {"dataset": dataset, "series_dir": job.shown, "series_hash": series_hash(job.shown)}
    return Task(job.shown, known, job.name.text, found=job)


def _of_row(row: Mapping[str, str], root: str | None) -> Task:
    """Return a manifest's row as a series: a whole path is taken apart at its root, where that is known."""
    name, dataset = name_in(row), row.get("dataset", "")
    # A manifest may say who the patient is: of all its columns, these alone go on.
    known: dict[str, Any] = {"dataset": dataset, "series_dir": name, "series_hash": hash_in(row)}
    if row.get("file_count", "").isdecimal():
        known["file_count"] = int(row["file_count"])
    if not (name.startswith("/") or "://" in name):
        # A slash at the end would make it a path here instead of a name below the root.
        below = name.rstrip("/")
        return Task(name, known, below, root, below)
    its_own = os.environ.get(_ROOTS.get(dataset, ""), "")
    for place in filter(None, (root, its_own)):
        start = place.rstrip("/") + "/"
        if name.startswith(start):
            below = name.removeprefix(start).strip("/")
            output = f"{dataset}/{below}" if dataset in _ROOTS else below
            return Task(name, known, below, place, output)
    return Task(name, known, name, None, (name.partition("://")[2] or name).strip("/"))


def _shard(options: Mapping[str, Any]) -> Shard | None:
    """Return the share that is asked for: by the option, else by SHARD_ID and NUM_SHARDS."""
    if options["shard"] is not None:
        if options["manifest"] is None:
            raise RequestError("shard", "is a share of a manifest; give `manifest`")
        return Shard.parse(options["shard"])
    number, of = (os.environ.get(name, "").strip() for name in ("SHARD_ID", "NUM_SHARDS"))
    if options["manifest"] is None or not number:
        return None
    if not of:
        raise RequestError("SHARD_ID", "needs NUM_SHARDS beside it")
    return Shard.parse(f"{number}/{of}")


def run_facts(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a summary says of a run beside its totals."""
    shard = _shard(options)
    return {
        "input_csv": options["manifest"],
        "num_workers": options["workers"],
        "shard_id": None if shard is None else shard.number,
        "num_shards": None if shard is None else shard.of,
    }


def _text_of(place: str, settings: Settings) -> str:
    """Read a manifest, a file or an object.

    Raises:
        PreviewError: It cannot be read.
    """
    try:
        if "://" not in place:
            return Path(place).read_text("utf-8", "surrogateescape")
        folder, name = folder_and_name(place)
        return open_storage(folder, settings, os.environ).get(name).data.decode("utf-8", "surrogateescape")
    except OSError as error:
        raise RequestError("manifest", f"{place} cannot be read: {error.strerror or error}") from error


def run_manifest(options: Mapping[str, Any]) -> None:
    """Run `manifest`.

    Raises:
        PreviewError: A root cannot be listed, or a file cannot be written.
    """
    place = options["cache_dir"]
    settings = settings_of({} if place and "://" in place else options)
    identity = options["identity"] == "keep"
    outputs = open_outputs(options["output"], settings, os.environ)
    found: list[Found] = []
    for one in _places(options):
        root = open_storage(one.url, settings, os.environ)
        if root.immutable and root.url.count("/") == 2:
            raise RequestError("root", f"{root.url} holds too much to list it whole; give a prefix of it")
        known = _known(root, place, settings, identity=identity)
        found.append(found_in(root.list_objects(""), one, options["depth"], known))
    files, summary = manifest_files(found, options["shards"], identity=identity)
    for name, data in files.items():
        outputs.write(name, data)
    _tell(outputs.shown, summary, options)


def _places(options: Mapping[str, Any]) -> list[Place]:
    """Return the roots: the option's, else those of the data set's two layouts."""
    root = options["root"]
    if root is not None:
        return [Place(os.environ.get("DATASET_NAME") or Path(root).name, root)]
    version = os.environ.get("DATASET_VERSION", "all").strip().lower() or "all"
    if version not in ("all", *_ROOTS):
        raise RequestError("DATASET_VERSION", f"{quoted(version)} is none of v1, v2, all")
    places = [
        Place(name, os.environ[variable], "v2" if name == "v2" else "v1", is_told=True)
        for name, variable in _ROOTS.items()
        if version in ("all", name) and os.environ.get(variable)
    ]
    if not places:
        raise RequestError("root", "is needed; or set DATASET_V1_ROOT, DATASET_V2_ROOT")
    return places


def _known(
    root: Storage, place: str | None, settings: Settings, *, identity: bool
) -> dict[str, dict[str, Any]]:
    """Return what the catalogue knows of a root's series; nothing without a catalogue."""
    kept = catalogue_storage(place, settings, os.environ, create=False)
    where = Filter(pc.field("Root") == root.url, ("Root",))
    try:
        rows = SnapshotReader(kept).read(["Series", *FROM_CATALOGUE.values()], where)
    except NoCatalogueError:
        return {}
    except ObjectNotFoundError:
        if place and "://" in place:
            raise
        # There is no cache folder yet.
        return {}
    return known_of(rows.to_pylist(), identity=identity)


def _tell(place: str, summary: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    if options["as_json"]:
        answer(json.dumps(summary, indent=2, ensure_ascii=False))
        return
    if deep := summary["too_deep"]:
        say(f"warning: {deep} series lie deeper than --depth {options['depth']} and are left out")
    if loose := summary["loose_objects"]:
        say(f"warning: {counted(loose, 'object')} right in a root, in no series' folder, left out")
    if not options["quiet"]:
        shards, known = counted(summary["num_shards"], "shard"), summary["known_to_the_catalogue"]
        answer(f"{place}: {summary['total_series']} series in {shards}, {known} known to the catalogue")
