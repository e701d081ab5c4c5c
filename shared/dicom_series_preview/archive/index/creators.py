"""Private elements, grouped by the creators of their blocks (PS3.5 7.8.1)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from dicom_series_preview.sources.headers.elements import (
    Element,
    Item,
    creator_tag,
    is_in_block,
    private_creator,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


def by_creator(
    by_tag: Mapping[int, Sequence[Element | None]], headers: Sequence[Item]
) -> Iterator[tuple[int, str, Sequence[Element | None]]]:
    """Yield the elements of each column: private ones by creator, whatever block an object uses for it.

    If a creator has several blocks in one object, the blocks' order separates their elements.

    Args:
        by_tag: Each object's element, by tag.
        headers: The objects.

    Yields:
        The tag that most objects use, the creator, and each object's element.
    """
    owners = _owners({creator_tag(tag) for tag in by_tag if is_in_block(tag)}, headers)
    groups: dict[tuple[int, str, int], dict[int, Sequence[Element | None]]] = {}
    for tag, elements in by_tag.items():
        if not is_in_block(tag):
            groups[tag, "", 0] = {tag: elements}
            continue
        of_objects = owners[creator_tag(tag)]
        known = zip(of_objects, elements, strict=True)
        found = {owner for owner, element in known if element is not None}
        for owner in sorted(found):
            known = zip(of_objects, elements, strict=True)
            own = elements if len(found) == 1 else [e if other == owner else None for other, e in known]
            groups.setdefault((tag & 0xFFFF00FF, *owner), {})[tag] = own
    columns = []
    for (_, creator, number), parts in groups.items():
        tag = min(parts, key=lambda tag: (sum(e is None for e in parts[tag]), tag))
        of_tags = zip(*parts.values(), strict=True)
        merged = [next(filter(None, found), None) for found in of_tags] if len(parts) > 1 else parts[tag]
        columns.append((number if creator else 0, tag, creator, merged))
    # A creator's first block comes before the next ones, whose columns have longer names.
    for _, tag, creator, merged in sorted(columns, key=lambda column: column[:3]):
        yield tag, creator, merged


def _owners(blocks: Iterable[int], headers: Sequence[Item]) -> dict[int, list[tuple[str, int]]]:
    """Return each object's creator of each block, and how many earlier blocks are that creator's too.

    Without a creator, the number is the block's own.

    Args:
        blocks: The tags of the elements that name the creators.
        headers: The objects.
    """
    owners: dict[int, list[tuple[str, int]]] = {}
    known: list[Counter[tuple[int, str]]] = [Counter() for _ in headers]
    for block in sorted(blocks):
        owners[block] = []
        first = block & 0xFFFF0000 | (block & 0xFF) << 8
        for header, seen in zip(headers, known, strict=True):
            element = header.get(block)
            value = element.first if element is not None else None
            name = b"" if value is None else str(value).encode("ascii", "replace")
            creator = private_creator(first, {block: name})
            owners[block].append((creator, seen[block >> 16, creator] if creator else block & 0xFF))
            seen[block >> 16, creator] += 1
    return owners
