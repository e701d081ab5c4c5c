"""Estimate from a plan what converting a volume takes, and compare it with the room that there is.

The estimates are upper bounds of what we measured, so that what is begun also ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dicom_series_preview.pixels.codecs.frame import decoded_bytes
from dicom_series_preview.products.volumes.refusal import Refusal
from dicom_series_preview.products.volumes.slabs import SLAB_BYTES

if TYPE_CHECKING:
    from dicom_series_preview.products.volumes.plan import PlannedVolume

# Uncompressed transfer syntaxes (PS3.5 A.1, A.2).
_NATIVE = frozenset(("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"))
# The program with all that it loads.
_PROGRAM_BYTES = 350 * 2**20
# The slab that is read, the one that is written, the shard that is compressed, and the one that is compared.
_SLABS = 4
# A frame as it arrives, as it is decoded, and as values, in each of the threads.
_FRAMES = 12
# Bytes of the array that one processor reads, writes and proves in a second.
_NATIVE_RATE, _DECODED_RATE, _NPZ_RATE = 12e6, 6e6, 5e6
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


def too_large_here(volume: PlannedVolume, to: str, room: Room, command: str) -> Refusal | None:
    """Refuse a volume that the room is too small for.

    Args:
        volume: The volume.
        to: The name of the format.
        room: What there is.
        command: What converts it on a larger machine.
    """
    needs = (
        (memory_of(volume), room.memory, "memory"),
        (disk_of(volume, to), room.disk, "room for temporary files"),
    )
    told = [
        f"{need / 1e9:.1f} GB of {what}, and there are {there / 1e9:.1f}"
        for need, there, what in needs
        if need > there
    ]
    seconds = seconds_of(volume, to, room.processors)
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


def disk_of(volume: PlannedVolume, to: str) -> int:
    """Estimate what a conversion writes to the disk, in bytes.

    That is the output as if nothing of it shrank, twice where it is packed, and the array in another order,
    of which the digest is taken.
    """
    output = int(np.prod(volume.shape)) * 4 if to == "npz" else volume.bytes
    packed = 2 if to in ("zip", "sqlite") else 1
    # Its order may be another one as well.
    return output * packed + 2 * volume.bytes


def seconds_of(volume: PlannedVolume, to: str, processors: float) -> float:
    """Estimate how long a conversion takes."""
    native = all(one.pixels.transfer_syntax_uid in _NATIVE for one in volume.sources)
    rate = _NPZ_RATE if to == "npz" else _NATIVE_RATE if native else _DECODED_RATE
    waves = -(-volume.requests // _AT_ONCE) * _WAVE_S
    return _START_S + waves + volume.source_bytes / _SOURCE_RATE + volume.bytes / (rate * processors)
