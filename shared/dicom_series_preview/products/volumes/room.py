"""Estimate from a plan what converting a volume takes, and compare it with the room that there is.

The estimates are upper bounds of what we measured, so that what is begun also ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dicom_series_preview.pixels.codecs.frame import decoded_bytes
from dicom_series_preview.products.volumes.extents import SLAB_BYTES
from dicom_series_preview.products.volumes.refusal import Refusal
from dicom_series_preview.sources.headers.transfer_syntaxes import UNCOMPRESSED

if TYPE_CHECKING:
    from dicom_series_preview.products.volumes.plan import PlannedVolume

# The program with all that it loads.
_PROGRAM_BYTES = 350 * 2**20
# The slab that is read, the one that is written, the shard that is compressed, and the one that is compared.
_SLABS = 4
# A frame as it arrives, as it is decoded, and as values, in each of the threads.
_FRAMES = 12
# Bytes of the array that one processor reads, writes and proves in a second; decodes; and deflates for NPZ.
# Each is less than what we measured (docs/scale.md).
_RATE, _DECODED_RATE, _NPZ_RATE = 20e6, 10e6, 15e6
# What a storage takes for a wave of requests, and how many it takes at once.
_WAVE_S, _AT_ONCE = 0.1, 32
_SOURCE_RATE = 30e6
_START_S = 10.0


@dataclass(frozen=True, slots=True)
class Room:
    """What there is for one conversion.

    Attributes:
        memory: Bytes of memory.
        disk: Bytes of the disk for temporary files.
        seconds: Time.
        processors: Processors; may be a part of one.
    """

    memory: int
    disk: int
    seconds: float
    processors: float


@dataclass(frozen=True, slots=True)
class Output:
    """What a volume is written as.

    Attributes:
        to: The name of the format.
        orient: `native` or `ras`.
    """

    to: str
    orient: str = "native"


def too_large_here(volume: PlannedVolume, output: Output, room: Room, command: str) -> Refusal | None:
    """Refuse a volume that the room is too small for.

    Args:
        volume: The volume.
        output: What it is written as.
        room: What there is.
        command: What converts it on a larger machine.
    """
    needs = (
        (memory_of(volume), room.memory, "memory"),
        (disk_of(volume, output), room.disk, "room for temporary files"),
    )
    told = [
        f"{need / 1e9:.1f} GB of {what}, and there are {there / 1e9:.1f}"
        for need, there, what in needs
        if need > there
    ]
    seconds = seconds_of(volume, output, room.processors)
    if seconds > room.seconds:
        told.append(f"{seconds / 60:.0f} minutes, and there are {room.seconds / 60:.0f}")
    if not told:
        return None
    return Refusal("too_large_here", f"it may take {'; '.join(told)}. On a larger machine: {command}")


def memory_of(volume: PlannedVolume) -> int:
    """Estimate the memory that a conversion takes, in bytes."""
    slice_bytes = int(np.prod(volume.shape[2:])) * volume.values.dtype.itemsize
    frame = max(decoded_bytes(one.pixels) for one in volume.sources)
    slab = max(min(SLAB_BYTES, volume.bytes), slice_bytes)
    return _PROGRAM_BYTES + _SLABS * slab + _FRAMES * frame


def disk_of(volume: PlannedVolume, output: Output) -> int:
    """Estimate what a conversion writes to the disk, in bytes.

    That is the output as if nothing of it shrank, twice where it is packed; the array in the order of which
    the digest is taken; and in the order of the output, where that is not the source's.
    """
    is_npz = output.to == "npz"
    size = int(np.prod(volume.shape)) * 4 if is_npz else volume.bytes
    packed = 2 if output.to in ("zip", "sqlite") else 1
    orders = 2 if is_npz or output.orient != "native" else 1
    return size * packed + orders * volume.bytes


def seconds_of(volume: PlannedVolume, output: Output, processors: float) -> float:
    """Estimate how long a conversion takes."""
    is_native = all(one.pixels.transfer_syntax_uid in UNCOMPRESSED for one in volume.sources)
    work = 1 / _RATE + (0 if is_native else 1 / _DECODED_RATE) + (1 / _NPZ_RATE if output.to == "npz" else 0)
    waves = -(-volume.requests // _AT_ONCE) * _WAVE_S
    return _START_S + waves + volume.source_bytes / _SOURCE_RATE + volume.bytes * work / processors
