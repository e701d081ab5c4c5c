"""Apply palette colour lookup tables (PS3.3 C.7.6.3.1.5, C.7.6.3.1.6, C.7.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.base.errors import DecodeError
from dicom_series_preview.base.lookup_tables import table_entries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.base.image import LookupTable, Palette


def apply_palette(samples: NDArray[Any], palette: Palette) -> NDArray[np.uint8]:
    """Look up the colours of stored values.

    Args:
        samples: Stored values, shape (rows, columns), integers.
        palette: The tables.

    Returns:
        RGB, shape (rows, columns, 3).

    Raises:
        DecodeError: A table is broken.
    """
    tables = (palette.red, palette.green, palette.blue)
    entries = [expand(table) if palette.segmented else table_entries(table) for table in tables]
    # Some writers declare 16 bits and write 8: then no entry of any channel exceeds 255.
    shift = 8 if max(int(channel.max()) for channel in entries) > 0xFF else 0
    result = np.empty((*samples.shape, 3), np.uint8)
    for channel, (table, values) in enumerate(zip(tables, entries, strict=True)):
        # Values below the first take the first entry, values above the last the last (C.7.6.3.1.5).
        index = np.clip(samples.astype(np.int64) - table.first_value, 0, len(values) - 1)
        # The high-order bits: exact for 8-bit colours scaled by 256 or by 257.
        result[..., channel] = (values >> shift).astype(np.uint8)[index]
    return result


def expand(table: LookupTable) -> NDArray[np.uint16]:
    """Expand a segmented table (PS3.3 C.7.9.2): discrete, linear and indirect segments.

    Raises:
        DecodeError: The segments do not yield the descriptor's number of entries.
    """
    eight_bit = table.bits == 8
    words: NDArray[Any] = np.frombuffer(
        table.data, np.uint8 if eight_bit else "<u2", len(table.data) // (2 - eight_bit)
    )
    expander = _Expander(words.tolist(), table.entries, eight_bit=eight_bit)
    expander.run(0, None)
    if len(expander.entries) < table.entries:
        raise DecodeError(f"a segmented palette gives {len(expander.entries)} entries of {table.entries}")
    return np.array(expander.entries[: table.entries], np.uint16)


class _Expander:
    """Walks segments, and makes no more entries than the table has, so that no table can run away."""

    def __init__(self, words: list[int], limit: int, *, eight_bit: bool) -> None:
        self._words = words
        self._limit = limit
        self._eight_bit = eight_bit
        self.entries: list[int] = []

    def run(self, offset: int, segments: int | None) -> None:
        """Expand a number of segments from a word offset on; None means up to the end."""
        # A byte of padding can follow the last segment; no segment is that short.
        while offset + 2 <= len(self._words) and segments != 0 and len(self.entries) < self._limit:
            opcode, count = self._words[offset : offset + 2]
            if opcode == 0:
                offset = self._discrete(offset + 2, count)
            elif opcode == 1:
                offset = self._linear(offset + 2, count)
            elif opcode == 2 and segments is None:
                offset = self._indirect(offset + 2, count)
            else:
                raise DecodeError("a segmented palette has an unknown segment, or an indirect one in another")
            segments = None if segments is None else segments - 1

    def _discrete(self, offset: int, count: int) -> int:
        self.entries += self._words[offset : offset + count]
        return offset + count

    def _linear(self, offset: int, count: int) -> int:
        """Interpolate from the last entry, not repeated, to the end value, included (C.7.9.2.2)."""
        if offset >= len(self._words) or not self.entries:
            raise DecodeError("a segmented palette begins with a linear segment, or is cut off")
        first, last = self.entries[-1], self._words[offset]
        self.entries += [
            (2 * (first * count + (last - first) * i) + count) // (2 * count) for i in range(1, count + 1)
        ]
        return offset + 1

    def _indirect(self, offset: int, count: int) -> int:
        """Repeat `count` earlier segments; their byte offset has 32 bits, the low word first (C.7.9.2.3)."""
        length = 4 if self._eight_bit else 2
        parts = self._words[offset : offset + length]
        if len(parts) < length:
            raise DecodeError("a segmented palette is cut off")
        position = sum(part << (8 if self._eight_bit else 16) * i for i, part in enumerate(parts))
        self.run(position if self._eight_bit else position // 2, count)
        return offset + length
