import json

import make_dicom as make
from indexing import cells, index_of, records_of, series, table_of


def test_frame_groups_win_over_shared_ones_and_those_over_the_root():
    """Per frame: its own functional groups, then the shared ones, then the root."""
    root = {"RescaleSlope": 1.0, "RescaleIntercept": 1.0, "WindowCenter": 1.0, "WindowWidth": 100.0}
    shared = make.orientation_group(
        PixelMeasuresSequence=[make.dataset(PixelSpacing=[2.0, 3.0])],
        PixelValueTransformationSequence=[make.dataset(RescaleSlope=2.0, RescaleIntercept=2.0)],
    )
    first = make.position_group(0, 0, 5)
    second = make.position_group(
        0,
        0,
        9,
        PixelValueTransformationSequence=[make.dataset(RescaleSlope=3.0)],
        FrameVOILUTSequence=[make.dataset(WindowCenter=3.0)],
    )
    table = table_of(make.enhanced([first, second], shared, **root))
    assert cells(table, "FrameNumber") == [2, 1]
    assert cells(table, "RescaleSlope") == [3.0, 2.0]
    assert cells(table, "RescaleIntercept") == [2.0, 2.0]
    assert cells(table, "WindowCenter") == [[3.0], [1.0]]
    assert cells(table, "WindowWidth") == [[100.0], [100.0]]
    assert cells(table, "PixelSpacing") == [[2.0, 3.0]] * 2
    assert cells(table, "ImagePositionPatient") == [[0.0, 0.0, 9.0], [0.0, 0.0, 5.0]]
    assert cells(table, "ImageOrientationPatient") == [list(make.AXIAL)] * 2
    assert cells(table, "PrimaryAxis") == ["Z", "Z"]


def test_each_row_holds_its_own_frames_groups():
    """PerFrameFunctionalGroupsSequence stands with one item a row, not whole in each."""
    table = table_of(
        make.enhanced([make.position_group(0, 0, z) for z in (3, 9, 6)], make.orientation_group())
    )
    items = [json.loads(text) for text in cells(table, "PerFrameFunctionalGroupsSequence")]
    assert [len(item) for item in items] == [1, 1, 1]
    positions = [item[0]["00209113"]["Value"][0]["00200032"]["Value"] for item in items]
    assert positions == cells(table, "ImagePositionPatient") == [[0, 0, 9], [0, 0, 6], [0, 0, 3]]


def test_group_items_without_a_frame_are_kept():
    """Functional groups of frames that the object does not have are in the index all the same."""
    groups = [make.position_group(0, 0, z) for z in range(4)]
    broken = [
        make.enhanced(groups, PixelData=bytes(48)),
        make.enhanced(groups, PixelData=None),
        make.image(PerFrameFunctionalGroupsSequence=[]),
        make.enhanced(groups[:2], NumberOfFrames=3, PixelData=bytes(144)),
    ]
    for source in broken:
        objects = series(source)
        record = records_of(objects)[0]
        assert index_of(objects).records()[0].elements == dict(sorted(record.elements.items()))
