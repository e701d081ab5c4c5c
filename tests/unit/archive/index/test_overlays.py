import numpy as np

import make_dicom as make
from dicom_series_preview.sources.headers.overlays import OverlayPlane
from indexing import index_of, series


def overlays_of(index):
    """By file name, the overlay planes of its slices and where they say its first frame begins."""
    rows = range(index.table.num_rows)
    return {s.file_name: (s.overlays, s.header_length) for s in index.slices(rows, overlays=True)}


def with_plane(number, rows, columns, **elements):
    """A slice with a plane of some size."""
    return make.overlay(make.image(number), np.ones((rows, columns), bool), **elements)


def test_overlays_of_slices():
    """The index tells each object's planes, whether they are all alike, differ, or are there in some only."""
    alike = index_of(series(with_plane(1, 4, 6), with_plane(2, 4, 6)))
    assert {planes for planes, _ in overlays_of(alike).values()} == {(OverlayPlane(0x6000, 4, 6),)}
    mixed = [
        with_plane(1, 40, 60, OverlayOrigin=[-2, 3]),
        make.image(2),
        with_plane(3, 4, 6, OverlayBitsAllocated=16, OverlayBitPosition=14, OverlayData=None),
        make.add(with_plane(4, 4, 6), 0x60000010, "SS", 4),
    ]
    objects = series(*mixed)
    found = overlays_of(index_of(objects))
    assert [found[f"{i:03}.dcm"][0] for i in range(4)] == [
        (OverlayPlane(0x6000, 40, 60, origin=(-2, 3)),),
        (),
        (OverlayPlane(0x6000, 4, 6, bit_position=14),),
        (OverlayPlane(0x6000, 4, 6),),
    ]
    for name in ("000.dcm", "003.dcm"):
        assert objects[name][found[name][1] :] == make.PIXELS


def test_overlays_of_frames():
    """Every frame has its object's planes, and knows where the first frame begins."""
    groups = [make.position_group(0, 0, z) for z in (1, 2, 3)]
    source = make.overlay(make.enhanced(groups), np.ones((3, 40, 60), bool))
    # Another VR than most have: a value that no column gives back.
    make.add(source, 0x60000011, "SS", 60)
    objects = series(source, with_plane(9, 4, 6), with_plane(10, 4, 6))
    index = index_of(objects)
    slices = [s for s in index.slices(range(5), overlays=True) if s.file_name == "000.dcm"]
    assert [s.overlays for s in slices] == [(OverlayPlane(0x6000, 40, 60, frames=3),)] * 3
    start = {s.header_length for s in slices}
    assert start == {min(s.location.offset for s in slices)}


def test_overlays_are_told_when_asked_for():
    """Slices without them are as ever."""
    index = index_of(series(with_plane(1, 4, 6)))
    (item,) = index.slices([0])
    assert (item.overlays, item.header_length) == ((), 0)
