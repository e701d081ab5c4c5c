"""Add to slices the overlay planes of their objects."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from dicom_series_preview.archive.index.cells import elements_of, tag_of_field
from dicom_series_preview.archive.index.schema import OTHER_ELEMENTS
from dicom_series_preview.sources.headers.overlays import (
    OverlayPlane,
    is_overlay_bit_position,
    is_overlay_tag,
    overlay_planes,
)

if TYPE_CHECKING:
    from dicom_series_preview.archive.index.slices import Slice
    from dicom_series_preview.sources.headers.elements import Item


def with_overlays(table: pa.Table, constants: Item, slices: list[Slice], *, shown: bool) -> list[Slice]:
    """Add to slices their objects' overlay planes, or only the pixel bits that these use.

    Args:
        table: The index's table.
        constants: The elements that all objects have with the same value.
        slices: The slices.
        shown: The planes will be shown.
    """
    columns = [column.name for column in table.schema if is_overlay_tag(tag_of_field(column))]
    of_overlays = {tag: element for tag, element in constants.items() if is_overlay_tag(tag)}
    if not columns and not of_overlays:
        return slices
    columns += [name for name in ("FileName", OTHER_ELEMENTS.name) if name in table.column_names]
    # By object: its first row, which holds the values without a column, and its first frame's offset.
    firsts: dict[str, tuple[int, int]] = {}
    wanted = {item.file_name for item in slices}
    cells = zip(table["FileName"].to_pylist(), table["FrameOffset"].to_pylist(), strict=True)
    for row, (name, offset) in enumerate(cells):
        if name in wanted:
            first, start = firsts.get(name, (row, offset))
            firsts[name] = first, min(start or 0, offset or 0)
    part = table.select(columns).take(pa.array([row for row, _ in firsts.values()], pa.int64()))
    planes = dict(zip(firsts, map(overlay_planes, elements_of(part, of_overlays)), strict=True))
    return [
        _overlaid(item, planes[item.file_name], firsts[item.file_name][1], shown=shown) for item in slices
    ]


def _overlaid(item: Slice, planes: tuple[OverlayPlane, ...], header_length: int, *, shown: bool) -> Slice:
    """Return a slice with its object's overlay planes, or only the pixel bits that these use."""
    positions = {plane.bit_position for plane in planes}
    bits = sum(1 << at for at in positions if at is not None and 0 <= at < item.pixels.bits_allocated)
    if bits:
        item = replace(item, pixels=replace(item.pixels, overlay_bits=bits))
    return replace(item, overlays=planes, header_length=header_length) if planes and shown else item


def may_hold_overlay_bits(table: pa.Table, constants: Item) -> bool:
    """Return True where an object can have an overlay plane among its pixels' unused bits."""
    return any(is_overlay_bit_position(tag_of_field(column)) for column in table.schema) or any(
        is_overlay_bit_position(tag) and element.first for tag, element in constants.items()
    )
