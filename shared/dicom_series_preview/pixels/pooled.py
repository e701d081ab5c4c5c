"""Pool the values of slices for an automatic window, before any of them is shown.

Every slice is used twice. In between it waits in memory, within a budget of bytes; slices that do not fit are
dropped and fetched again.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import DecodeError
from dicom_series_preview.pixels.codecs.frame import decoded_bytes
from dicom_series_preview.pixels.contrast.auto import AutoWindow
from dicom_series_preview.pixels.slices import FailedSlice, FrameBytes
from dicom_series_preview.pixels.stream import read_slices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicom_series_preview.archive.index.slices import Slice
    from dicom_series_preview.pixels.slices import DecodedSlice
    from dicom_series_preview.pixels.stream import Arrived, SliceReader

WAITING_BYTES = 128 * 2**20
"""The bytes for slices that wait for the statistics of all."""


def pool(reader: SliceReader, slices: Sequence[Slice], room: int) -> tuple[AutoWindow, list[Arrived]]:
    """Read slices and pool their values.

    Args:
        reader: Reads them.
        slices: The slices, all grey.
        room: The bytes for waiting slices.

    Returns:
        The statistics of all slices; and the slices that wait or failed. If not all can wait decoded, each
        waits in its smaller form.
    """
    statistics = AutoWindow()
    waiting: list[Arrived] = []
    for_all = sum(decoded_bytes(item.pixels) for item in slices) <= room
    for arrived, found in read_slices(reader, slices, lambda found: found):
        if isinstance(found, FailedSlice):
            waiting.append(found)
            continue
        _add(statistics, found)
        size = found.decoded.samples.nbytes
        kept: Arrived = found
        if isinstance(arrived, FrameBytes) and len(arrived.data) < size and not for_all:
            kept, size = arrived, len(arrived.data)
        if size <= room:
            room -= size
            waiting.append(kept)
    return statistics, waiting


def _add(statistics: AutoWindow, found: DecodedSlice) -> None:
    samples = found.decoded.samples
    # A broken lookup table has no values to pool; rendering the slice reports it.
    with suppress(DecodeError):
        statistics.add(found.gaps.known(samples) if found.gaps else samples, found.slice.contrast)
