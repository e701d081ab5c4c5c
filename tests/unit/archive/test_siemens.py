"""Siemens mosaics as the slices in them."""

from pathlib import Path

import numpy as np
import pytest

import make_dicom
from dicom_series_preview.archive.index.build import build
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.siemens import untiled
from indexing import PROVENANCE, index_of, records_of
from make_dicom import mosaic

OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)


def volume(images, rows=4, columns=4):
    return np.arange(images * rows * columns, dtype=np.uint16).reshape(images, rows, columns)


def objects(*datasets):
    return {f"{data.InstanceNumber}.dcm": make_dicom.encode(data) for data in datasets}


def positions(index):
    return np.array(index.table["ImagePositionPatient"].to_pylist(), float)


def tile_numbers(index):
    """By row, the number of the slice in its 3 x 3 mosaic, from 0."""
    rows = range(index.table.num_rows)
    return [-part.top // 4 * 3 - part.left // 4 for s in index.slices(rows) for part in index.parts(s)]


def test_slices_have_the_size_and_place_of_a_tile():
    """A slice is as large as a tile, and its frame lies so that the tile is what is seen of it."""
    index, warnings = untiled(index_of(objects(mosaic(volume(7)))))
    assert warnings == ()
    assert index.table.num_rows == 7
    slices = index.slices(index.stacks[0])
    assert {(s.pixels.rows, s.pixels.columns) for s in slices} == {(4, 4)}
    assert {(p.frame.pixels.rows, p.frame.row) for s in slices for p in index.parts(s)} == {(12, 0)}
    # The last slice is the most superior one.
    assert tile_numbers(index) == [6, 5, 4, 3, 2, 1, 0]


def test_position_is_moved_from_the_grids_corner_to_the_tiles():
    """The corner moves by half of what the grid has more than a tile, in mm along rows and columns."""
    source = mosaic(volume(9), PixelSpacing=[0.5, 0.25], ImagePositionPatient=[10.0, 20.0, 30.0])
    index, _ = untiled(index_of(objects(source)))
    first = 10 + 0.25 * (12 - 4) / 2, 20 + 0.5 * (12 - 4) / 2
    assert positions(index)[::-1].tolist() == [[*first, 30.0 + 3.0 * i] for i in range(9)]


@pytest.mark.parametrize("flipped", [False, True])
def test_the_csa_header_says_which_way_slices_go(flipped):
    """Slices follow the normal of rows and columns, or the opposite where SliceNormalVector says so."""
    cross = np.cross(OBLIQUE[:3], OBLIQUE[3:])
    normal = [str(x) for x in (-cross if flipped else cross)]
    csa = make_dicom.csa_header({"SliceNormalVector": normal})
    source = mosaic(volume(9), csa=csa, ImageOrientationPatient=list(OBLIQUE), ImagePositionPatient=[0, 0, 0])
    index, _ = untiled(index_of(objects(source)))
    order = np.argsort(tile_numbers(index))
    steps = np.diff(positions(index)[order], axis=0)
    assert steps == pytest.approx(np.tile(3.0 * (-cross if flipped else cross), (8, 1)))


@pytest.mark.parametrize(("elements", "step"), [({}, 3.0), ({"SpacingBetweenSlices": None}, 2.5)])
def test_slices_are_a_spacing_apart(elements, step):
    """SpacingBetweenSlices tells how far apart slices are, else SliceThickness."""
    index, _ = untiled(index_of(objects(mosaic(volume(4), **elements))))
    assert np.diff(positions(index)[::-1, 2]) == pytest.approx(step)


def test_mosaics_over_time_are_locations_times_times():
    """Mosaics of one volume at several times give each location all times, in their order."""
    series = [
        mosaic(volume(9), n, AcquisitionTime=f"1200{n:02}", ImagePositionPatient=[0, 0, 0]) for n in (2, 3, 1)
    ]
    index, _ = untiled(index_of(objects(*series)))
    assert {number: len(rows) for number, rows in index.stacks.items()} == {0: 27}
    stack = index.sorted_stack(0)
    assert stack.locations.tolist() == [location for location in range(9) for _ in range(3)]
    assert [s.file_name for s in index.slices(range(3))] == ["1.dcm", "2.dcm", "3.dcm"]
    assert stack.times[0][:3].tolist() == [43201, 43202, 43203]
    assert tile_numbers(index) == [tile for tile in range(8, -1, -1) for _ in range(3)]


def test_column_index_has_the_rows_of_the_series_index():
    """Each slice says which row of the series' index it is from; other images stay as they are."""
    other = make_dicom.image(5, ImagePositionPatient=[0.0, 0.0, 99.0])
    whole = index_of(objects(mosaic(volume(4), 1), other, make_dicom.report(9)))
    index, _ = untiled(whole)
    assert {number: len(rows) for number, rows in index.stacks.items()} == {0: 4, 1: 1}
    names = whole.table["FileName"].to_pylist()
    for row, name in zip(index.table["Index"].to_pylist(), index.table["FileName"].to_pylist(), strict=True):
        assert names[row] == name
    assert index.parts(index.slices(index.stacks[1])[0]) == []
    assert index.slices(index.stacks[1])[0].primary_position == 99


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"images": 0}, "does not say how many slices it has"),
        ({"Rows": 10}, "10 x 12 pixels are no grid of 3 x 3 slices"),
    ],
)
def test_unclear_mosaics_stay_whole(change, reason):
    """A mosaic whose grid cannot be told stays whole, and a warning names it and says why."""
    source = mosaic(volume(9), csa=b"", **{k: v for k, v in change.items() if k != "images"})
    if "images" in change:
        del source[0x0019100A]
    index, warnings = untiled(index_of(objects(source)))
    assert [len(rows) for rows in index.stacks.values()] == [1]
    assert index.parts(index.slices([0])[0]) == []
    assert len(warnings) == 1
    assert warnings[0].startswith("1.dcm stays a whole mosaic: ")
    assert reason in warnings[0]


@pytest.mark.parametrize("absent", ["ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"])
def test_without_geometry_slices_stay_in_their_order(absent):
    """Slices whose places cannot be told come in the mosaic's order, and a warning says so."""
    index, warnings = untiled(index_of(objects(mosaic(volume(9), **{absent: None}))))
    assert tile_numbers(index) == list(range(9))
    assert index.sorted_stack(0).locations.tolist() == [-1] * 9
    assert "slices without positions" in warnings[0]


def test_series_without_mosaics_is_as_it_was():
    """A series without mosaics is its own index, and a warning says that nothing was done."""
    whole = index_of(objects(make_dicom.image(1)))
    index, warnings = untiled(whole)
    assert index is whole
    assert warnings == ("untile has no effect: the series has no mosaic",)


def test_index_gives_back_what_mosaics_say():
    """What the CSA header told is in the index, so that an index of indexed objects reads no header again."""
    records = records_of(objects(mosaic(volume(9)), make_dicom.image(2)))
    index = Index.from_parquet(Index(build(records, PROVENANCE)).to_parquet())
    assert index.records() == records
    assert untiled(Index(build(index.records(), PROVENANCE)))[0].table.equals(untiled(index)[0].table)


@pytest.mark.real_data
def test_real_mosaics_lie_where_dcm2niix_puts_them(real_data: Path):
    """Six mosaics of 36 slices lie where dcm2niix 1.0.20260724 puts their voxels."""
    folder = real_data / "series" / "mr-mosaic-siemens-4d"
    index, warnings = untiled(index_of({path.name: path.read_bytes() for path in sorted(folder.iterdir())}))
    assert warnings == ()
    # Its affine, to coordinates that run to the left, to the back and up; its columns run up, ours down.
    affine = np.array(
        [
            [3.203125, 0.0, 0.0, -102.5],
            [0.0, -3.178563, 0.444965, 71.378113],
            [0.0, 0.395911, 3.572395, -73.579506],
        ]
    )
    first_pixels = [affine @ (0, 63, 35 - row // 6, 1) for row in range(216)]
    assert positions(index) == pytest.approx(np.array(first_pixels), abs=1e-3)
    names = index.table["FileName"].to_pylist()
    assert names == [f"IM-0001-000{time}.dcm" for _ in range(36) for time in range(1, 7)]
