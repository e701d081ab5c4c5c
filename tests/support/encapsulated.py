"""Encapsulated objects of a few JPEG frames, and where a header locates them."""

import make_dicom as make
from indexing import header_of

FRAMES = [[b"\xff\xd8\xffone1"], [b"\xff\xd8\xfftwo2", b"more"], [b"\xff\xd8\xffthree3"]]


def even(frames):
    """Fragments of even length, as the standard has them."""
    return [[part + b"\0" * (len(part) % 2) for part in frame] for frame in frames]


EVEN = even(FRAMES)


JOINED = [b"".join(frame) for frame in EVEN]


def encapsulated(table=None, frames=EVEN, **elements):
    """A JPEG object of some frames, three unless told."""
    pixels = make.encapsulate(frames, table)
    source = make.image(**{"NumberOfFrames": len(frames), "PixelData": pixels, **elements})
    return make.encode(source, make.JPEG)


def native_frames(data):
    """Each frame's bytes, as the header locates them."""
    return [data[at.offset : at.offset + at.length] for at in header_of(data).locations]
