"""Extract frames from fetched bytes: a part of an object, or all of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dicom_series_preview.pixels.slices import FrameBytes
from dicom_series_preview.sources.headers.codestreams import found_syntax, mismatch
from dicom_series_preview.sources.headers.fragments import codestream_of
from dicom_series_preview.sources.headers.transfer_syntaxes import NATIVE_TRANSFER_SYNTAXES

if TYPE_CHECKING:
    from dicom_series_preview.archive.index.slices import Slice
    from dicom_series_preview.sources.storage.base import Fetched


def frame_from_range(fetched: Fetched, item: Slice) -> FrameBytes:
    """Extract a frame from a range that can begin before it, and end after it."""
    data = fetched.data
    if item.location is not None:
        before = item.location.offset - fetched.range.start
        end = before + item.location.length
        data = data[before:end] if before or end < len(data) else data
    if item.pixels.transfer_syntax_uid in NATIVE_TRANSFER_SYNTAXES:
        return FrameBytes(item, data, item.pixels.native_layout().span(item.frame_number - 1)[2])
    return encapsulated_frame(item, data, one_of_many=is_one_of_many(item))


def encapsulated_frame(
    item: Slice, data: bytes, *, one_of_many: bool, remarks: tuple[str, ...] = ()
) -> FrameBytes:
    """Take a frame out of its fragments, under the transfer syntax that it has."""
    codestream = codestream_of(data, one_of_many=one_of_many)
    if codestream.remark:
        remarks = (*remarks, codestream.remark)
    declared = item.pixels.transfer_syntax_uid
    found = found_syntax(codestream.data, declared)
    if found != declared:
        item = replace(item, pixels=replace(item.pixels, transfer_syntax_uid=found))
        remarks = (*remarks, mismatch(found))
    return FrameBytes(item, codestream.data, remarks=remarks)


def is_one_of_many(item: Slice) -> bool:
    """Return True where a slice's object has other frames too."""
    return item.pixels.number_of_frames > 1
