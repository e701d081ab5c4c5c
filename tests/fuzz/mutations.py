"""Changes to bytes, as values: drawn by hypothesis in the suite, by a seeded generator in `run.py`."""

import random
from collections.abc import Iterable
from dataclasses import dataclass

KINDS = ("set", "insert", "delete", "repeat", "truncate", "copy")
# Lengths, counts and markers that parsers stumble over, in either byte order.
INTERESTING = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x7f\xff\xff\xff",
    b"\x00\x00\x01\x00",
    b"\xff\xfe",
    b"\xff\xd9",
    b"\xff\xd8",
    b"\xff\xda",
    b"\xff\x4f\xff\x51",
    b"\xff\x90",
    b"\xfe\xff\x00\xe0",
    b"\xfe\xff\x0d\xe0\x00\x00\x00\x00",
    b"\xfe\xff\xdd\xe0\x00\x00\x00\x00",
    b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff",
    b"SQ\x00\x00\xff\xff\xff\xff",
    b"UN\x00\x00\xff\xff\xff\xff",
)


@dataclass(frozen=True, slots=True)
class Change:
    """One change.

    Attributes:
        kind: One of `KINDS`.
        at: Where, modulo the length.
        value: What is set or inserted.
        count: How many bytes are deleted, repeated or copied.
        near_start: Only the first 256 bytes are meant, where the headers of codestreams lie.
    """

    kind: str
    at: int
    value: bytes
    count: int
    near_start: bool


def mutated(data: bytes, changes: Iterable[Change]) -> bytes:
    """The bytes after some changes."""
    changed = bytearray(data)
    for change in changes:
        at = change.at % max(1, min(len(changed), 256) if change.near_start else len(changed))
        if change.kind == "set":
            changed[at : at + len(change.value)] = change.value
        elif change.kind == "insert":
            changed[at:at] = change.value
        elif change.kind == "delete":
            del changed[at : at + change.count]
        elif change.kind == "repeat":
            changed[at:at] = changed[at : at + change.count]
        elif change.kind == "truncate":
            del changed[at:]
        else:
            source = change.count * 7919 % max(1, len(changed))
            changed[at : at + change.count] = changed[source : source + change.count]
    return bytes(changed)


def random_changes(rng: random.Random) -> list[Change]:
    """A few changes."""
    return [
        Change(
            kind=rng.choices(KINDS, (12, 2, 2, 2, 1, 2))[0],
            at=rng.randrange(1 << 20),
            value=rng.choice(INTERESTING) if rng.random() < 0.5 else rng.randbytes(rng.randint(1, 4)),
            count=rng.randint(1, 64),
            near_start=rng.random() < 0.5,
        )
        for _ in range(rng.randint(1, 5))
    ]
