"""Frames of whole slide images as tiles of their levels."""

from io import BytesIO

import numpy as np
import pyarrow.parquet as pq
import pytest

import make_dicom
from dicom_series_preview.archive.index.build import build
from dicom_series_preview.archive.index.index import Index
from indexing import PROVENANCE, index_of, records_of
from make_dicom import dataset, level, tile_group

RNG = np.random.default_rng(5)


def picture(rows, columns, paths=1, planes=1):
    return RNG.integers(0, 255, (paths, planes, rows, columns, 3), np.uint8)


def objects(*datasets):
    return {f"{data.InstanceNumber}.dcm": make_dicom.encode(data) for data in datasets}


def sizes(index):
    """By stack, rows and columns of its slices."""
    return {
        number: [(s.pixels.rows, s.pixels.columns) for s in index.slices(rows)]
        for number, rows in index.stacks.items()
    }


def places(index, row):
    """Of the slice that a row stands for: file, frame, and where each of its frames lies."""
    item = index.slices([row])[0]
    return [(p.frame.file_name, p.frame.frame_number, p.top, p.left) for p in index.parts(item)]


def test_each_level_is_a_stack_of_one_slice_smallest_first():
    """Every level is a stack of its own, the smallest first; a slice is the whole total pixel matrix."""
    index = index_of(objects(level(picture(70, 90), (16, 16), 1), level(picture(9, 11), (16, 16), 3)))
    assert sizes(index) == {0: [(9, 11)], 1: [(70, 90)]}
    assert [len(rows) for rows in index.stacks.values()] == [1, 1]
    assert places(index, int(index.stacks[0][0])) == [("3.dcm", 1, 0, 0)]
    assert len(index.parts(index.slices(index.stacks[1])[0])) == 5 * 6


def test_label_and_overview_come_last():
    """A label or an overview is never the main stack, however small the others or large itself."""
    label = level(picture(8, 8), (8, 8), 1, ImageType=["ORIGINAL", "PRIMARY", "LABEL", "NONE"])
    overview = level(picture(200, 200), (200, 200), 2, ImageType=["ORIGINAL", "PRIMARY", "OVERVIEW", "NONE"])
    thumbnail = level(
        picture(30, 20), (30, 20), 3, ImageType=["DERIVED", "PRIMARY", "THUMBNAIL", "RESAMPLED"]
    )
    index = index_of(objects(label, overview, thumbnail, level(picture(40, 40), (16, 16), 4)))
    assert sizes(index) == {0: [(30, 20)], 1: [(40, 40)], 2: [(8, 8)], 3: [(200, 200)]}
    alone = index_of(objects(label, overview))
    assert sizes(alone) == {1: [(8, 8)], 2: [(200, 200)]}


def test_tiled_full_counts_tiles_then_planes_then_paths():
    """TILED_FULL implies row by row, then focal planes, then optical paths; planes order the slices."""
    index = index_of(objects(level(picture(5, 6, paths=2, planes=3), (4, 4))))
    rows = index.stacks[0].tolist()
    assert [places(index, row)[0][1] for row in rows] == [1, 13, 5, 17, 9, 21]
    assert [place[1:] for place in places(index, rows[3])] == [(17, 0, 0), (18, 0, 4), (19, 4, 0), (20, 4, 4)]
    stack = index.sorted_stack(0)
    assert stack.locations.tolist() == [0, 0, 1, 1, 2, 2]
    assert stack.positions.tolist() == [0, 0, 1, 1, 2, 2]


def sparse(*groups, number=1, rows=8, columns=8, **elements):
    """A level of 4 x 4 tiles whose frames say where they lie."""
    source = level(picture(rows, columns), (4, 4), number)
    values = {
        "DimensionOrganizationType": "TILED_SPARSE",
        "NumberOfFrames": len(groups),
        "PerFrameFunctionalGroupsSequence": list(groups),
        "PixelData": bytes(4 * 4 * 3 * len(groups)),
        **elements,
    }
    return dataset(**{element.keyword: element.value for element in source} | values)


def test_tiled_sparse_says_where_tiles_lie():
    """TILED_SPARSE names rows and columns from 1; z and optical path tell slices apart; from the glass up."""
    groups = [
        tile_group(5, 1, 2.0),
        tile_group(1, 5, 0.5),
        tile_group(-1, 3, 2.0),
        tile_group(5, 1, 2.0, "1"),
    ]
    index = index_of(objects(sparse(*groups)))
    rows = index.stacks[0].tolist()
    assert [[place[1:] for place in places(index, row)] for row in rows] == [
        [(2, 0, 4)],
        [(1, 4, 0), (3, -2, 2)],
        [(4, 4, 0)],
    ]
    assert index.sorted_stack(0).locations.tolist() == [0, 1, 1]


def test_tiles_beyond_the_matrix_are_not_seen():
    """A frame that lies beyond the matrix is no part of the slice, however far it says to be."""
    index = index_of(objects(sparse(tile_group(1, 1), tile_group(9, 1), tile_group(1, -(2**31)))))
    assert [place[1:] for place in places(index, 0)] == [(1, 0, 0)]


def test_frames_that_do_not_say_where_stay_slices():
    """Where a frame of TILED_SPARSE has no position, none of its object's frames is a tile."""
    index = index_of(objects(sparse(tile_group(1, 1), dataset())))
    assert sizes(index) == {0: [(4, 4), (4, 4)]}
    assert index.parts(index.slices([0])[0]) == []


def test_parts_of_a_concatenation_are_one_level():
    """The instances of a concatenation are joined by their frame offsets, in whatever order of names."""
    planes = picture(8, 12)
    frames = make_dicom.tiles_of(planes[0, 0], (4, 4))
    parts = []
    for number, first in ((2, 0), (1, 4)):
        pixels = b"".join(frame.tobytes() for frame in frames[first : first + 4][: 6 - first])
        count = min(4, 6 - first)
        concatenation = {"ConcatenationUID": "1.2.3.4", "ConcatenationFrameOffsetNumber": first}
        parts.append(level(planes, (4, 4), number, NumberOfFrames=count, PixelData=pixels, **concatenation))
    index = index_of(objects(*parts))
    assert sizes(index) == {0: [(8, 12)]}
    named = [("2.dcm", i + 1) for i in range(4)] + [("1.dcm", 1), ("1.dcm", 2)]
    grid = [(top, left) for top in (0, 4) for left in (0, 4, 8)]
    assert places(index, 0) == [(*name, *at) for name, at in zip(named, grid, strict=True)]


@pytest.mark.parametrize(
    "source",
    [
        level(picture(10, 12, planes=2), (4, 4)),
        sparse(tile_group(5, 1), tile_group(1, 1), tile_group(1, 5)),
    ],
)
def test_index_gives_back_what_it_was_built_from(source):
    """An index of levels is built anew from its own records, row for row, and opens as it was written."""
    records = records_of(objects(source, make_dicom.report(7)))
    index = Index(build(records, PROVENANCE))
    again = Index.from_parquet(index.to_parquet())
    assert again.records() == records
    assert Index(build(again.records(), PROVENANCE)).table.equals(index.table)
    assert pq.read_table(BytesIO(index.to_parquet())).num_rows == index.table.num_rows
    frames = again.frames(range(index.table.num_rows - 1))
    assert {(f.pixels.rows, f.pixels.columns) for f in frames} == {(4, 4)}


def test_other_series_have_no_such_columns():
    """A series whose frames are slices has none of the columns that tell of parts."""
    names = index_of(objects(make_dicom.image(1))).table.column_names
    assert not {"Slice", "FrameTop", "MosaicImages"} & set(names)
