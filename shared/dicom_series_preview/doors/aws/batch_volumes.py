"""Convert one series of a batch, within what its function has: memory, a disk and a quarter of an hour."""

from __future__ import annotations

import atexit
import os
import shlex
import shutil
import tempfile
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from dicom_series_preview.archive.names import SeriesName, refuse_root
from dicom_series_preview.doors.aws.environment import MEMORY_VARIABLE, UNKNOWN_MEMORY
from dicom_series_preview.products.batches.host import Converted, VolumeMade
from dicom_series_preview.products.batches.places import volumes_folder
from dicom_series_preview.products.pictures.requests import IndexRequest
from dicom_series_preview.products.volumes.convert import Converter
from dicom_series_preview.products.volumes.fleet.meta import MetaOptions, meta_files
from dicom_series_preview.products.volumes.formats.base import WriteOptions
from dicom_series_preview.products.volumes.formats.table import format_named
from dicom_series_preview.products.volumes.room import Output, Room, too_large_here
from dicom_series_preview.products.volumes.series import convert_series
from dicom_series_preview.products.volumes.upload import RemoteOutputs
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.web.http.volume_options import read_conversion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.doors.aws.environment import Deployment
    from dicom_series_preview.products.batches.host import VolumeItem
    from dicom_series_preview.products.volumes.convert import Finished
    from dicom_series_preview.products.volumes.plan import PlannedVolume, VolumesPlan
    from dicom_series_preview.products.volumes.refusal import Refusal
    from dicom_series_preview.products.volumes.series import SeriesOutcome, VolumeOutcome
    from dicom_series_preview.products.volumes.targets import Target
    from dicom_series_preview.sources.storage.objectstore import ObjectStoreStorage

DISK_VARIABLE = "PREVIEW_CONVERT_DISK_MB"
# Lambda's own least.
_DISK_MB = 512
# With so much memory a function has one whole processor.
_PROCESSOR_BYTES = 1769 * 2**20
_PREFIX = "dicom-series-preview-of-"


def converted(item: VolumeItem, deployed: Deployment, seconds: float) -> Converted:
    """Convert a series into the data bucket; see `Volumes.make`.

    Raises:
        PreviewError: The series cannot be read, for now or at all.
    """
    asked = read_conversion(item.options)
    name = SeriesName.parse(item.series)
    refuse_root(name)
    service = deployed.service(item.root)
    limits = replace(service.limits, seconds=min(service.limits.seconds, seconds))
    service = replace(service, limits=limits).within(Deadline())
    watch = service.watch()
    data = deployed.storage(deployed.data)
    outputs = RemoteOutputs(cast("ObjectStoreStorage", data), _own_folder())
    chosen = format_named(asked.to)
    opened: list[OpenedSeries] = []

    def opening(again: bool) -> OpenedSeries:  # noqa: FBT001 - a callback
        opened[:] = [service.index(IndexRequest(name), refresh=again)]
        return opened[0]

    def stem(plan: VolumesPlan, volume: PlannedVolume) -> str:
        """Return the path of an output without its extension, below the data storage."""
        found = plan.opened
        folder, marks = volumes_folder(service.storage.url, found.folders, found.uid)
        for mark in marks:
            data.put(mark, b"")
        return f"{folder}/{(found.title.rpartition('/')[2] or 'series') + volume.suffix}"

    def place(plan: VolumesPlan, volume: PlannedVolume) -> Target:
        return outputs.target(stem(plan, volume) + chosen.extensions[0])

    def beside(finished: Finished) -> Mapping[str, bytes]:
        """Return what stands beside an output, in its series' folder: with the series goes all of it."""
        folder, _, last = stem(finished.plan, finished.volume).rpartition("/")
        files = meta_files(finished, last, MetaOptions(identity=False, store_type=chosen.name), {})
        return {f"{folder}/{path}": data for path, data in files.items()}

    converter = Converter(
        chosen,
        asked.options,
        WriteOptions(asked.options.orient, asked.zarr_format, asked.chunks, asked.clevel),
        service.limits,
        check=watch.check,
        beside=beside,
        fits=partial(
            _fits, item, Output(asked.to, asked.options.orient), _room(deployed.environment, seconds)
        ),
    )
    outcome = convert_series(opening, converter, place)
    cost = watch.cost()
    return Converted(
        volumes=tuple(_made(one, data.url) for one in outcome.volumes) or _nothing(outcome),
        slices=opened[0].index.table.num_rows,
        skipped=outcome.skipped,
        index_source=opened[0].source,
        requests=cost.list_requests + cost.get_requests,
        bytes=cost.bytes,
    )


def _made(one: VolumeOutcome, data_url: str) -> VolumeMade:
    if one.refusal is not None:
        return VolumeMade(one.status, one.part, code=one.refusal.code, problem=one.refusal.problem)
    return VolumeMade(
        one.status,
        one.part,
        one.place.removeprefix(f"{data_url}/"),
        output_bytes=one.size.bytes,
        sha256=str(one.receipt["volume"]["sha256"]),
    )


def _nothing(outcome: SeriesOutcome) -> tuple[VolumeMade, ...]:
    """Say why a series has neither a volume nor a part that is none."""
    left_out = "derived stacks only, which are left out" if outcome.derived else "no stack"
    return (VolumeMade("refused", "", code="no_image", problem=f"it holds {left_out}"),)


def _fits(item: VolumeItem, output: Output, room: Room, volume: PlannedVolume) -> Refusal | None:
    return too_large_here(volume, output, room, _command(item, output.to))


def _command(item: VolumeItem, to: str) -> str:
    """Return the command that converts a series elsewhere, with the batch's options."""
    given = [
        word
        for name, values in sorted(item.options.items())
        if name != "to"
        for value in values
        for word in _words(name, value)
    ]
    series = shlex.quote(item.series)
    options = " ".join([f"--to {to}", *map(shlex.quote, given)])
    return f"dicom-series-preview convert {series} --root ROOT -o FOLDER {options}"


def _words(name: str, value: str) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if value.lower() in ("true", "false"):
        return [flag] if value.lower() == "true" else []
    return [flag, value]


def _room(environment: Mapping[str, str], seconds: float) -> Room:
    memory = environment.get(MEMORY_VARIABLE, "")
    has = int(memory) * 2**20 if memory.isdecimal() else UNKNOWN_MEMORY
    disk = environment.get(DISK_VARIABLE, "")
    disk_bytes = (int(disk) if disk.isdecimal() else _DISK_MB) * 2**20
    return Room(has, disk_bytes, seconds, has / _PROCESSOR_BYTES)


@cache
def _own_folder() -> Path:
    """Make this process's folder for temporary files, and remove those of processes that have died.

    Lambda starts a sandbox again whose function died, with what it left on its disk.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        number = left.name.removeprefix(_PREFIX)
        if number.isdecimal() and not _is_another(int(number)):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.gettempdir(), f"{_PREFIX}{os.getpid()}")
    folder.mkdir()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _is_another(process: int) -> bool:
    """Return True where a process runs that is not this one."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()
