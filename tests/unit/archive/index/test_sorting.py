import pyarrow as pa
import pytest

import make_dicom as make
from dicom_series_preview.archive.index.build import build
from indexing import PROVENANCE, by_file, cells, readable_records, table_of


def test_localizer_frames_and_frames_of_two_orientations_are_apart():
    """Frames of one object lie in the stacks that their own groups put them in."""
    groups = [
        make.position_group(
            0, 0, 1, PlaneOrientationSequence=[make.dataset(ImageOrientationPatient=list(make.AXIAL))]
        ),
        make.position_group(
            0, 7, 0, PlaneOrientationSequence=[make.dataset(ImageOrientationPatient=list(make.CORONAL))]
        ),
        make.position_group(
            0, 0, 2, PlaneOrientationSequence=[make.dataset(ImageOrientationPatient=list(make.AXIAL))]
        ),
    ]
    table = table_of(make.enhanced(groups))
    assert cells(table, "Stack") == [0, 0, 1]
    assert cells(table, "FrameNumber") == [3, 1, 2]
    assert cells(table, "PrimaryAxis") == ["Z", "Z", "Y"]


@pytest.mark.parametrize("word", ["LOCALIZER", "SCOUT", "TOPOGRAM", "localizer"])
def test_localizers_are_known_by_their_image_type(word):
    """ImageType tells a localizer, which is never in the main stack."""
    table = table_of(
        *(make.add(make.image(i), 0x00080008, "CS", ["ORIGINAL", "PRIMARY", word]) for i in range(3)),
        make.image(9, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"]),
    )
    assert by_file(table, "Stack") == {"000.dcm": 1, "001.dcm": 1, "002.dcm": 1, "003.dcm": 0}


@pytest.mark.parametrize(
    "times",
    [
        {"AcquisitionDate": "{0}", "AcquisitionTime": "{1}"},
        {"AcquisitionDateTime": "{0}{1}", "AcquisitionTime": "{1}"},
        {"AcquisitionDateTime": "{0}{1}+0100"},
        {"ContentDate": "{0}", "ContentTime": "{1}"},
        {"InstanceCreationDate": "{0}", "InstanceCreationTime": "{1}"},
    ],
)
def test_slices_of_one_location_lie_by_date_and_time(times):
    """A series that runs over midnight lies in the order in which it was acquired."""
    moments = [
        ("20260228", "235958"),
        ("20260228", "235959"),
        ("20260301", "000000"),
        ("20260301", "000001.5"),
    ]
    made = [
        make.image(
            1,
            ImagePositionPatient=[0, 0, 0],
            SOPInstanceUID=f"1.2.{9 - i}",
            **{keyword: text.format(*moment) for keyword, text in times.items()},
        )
        for i, moment in enumerate(moments)
    ]
    table = table_of(*reversed(made))
    assert cells(table, "SOPInstanceUID") == ["1.2.9", "1.2.8", "1.2.7", "1.2.6"]
    assert cells(table, "Time") == [86398.0, 86399.0, 86400.0, 86401.5]


def folders(real_data):
    """The folders that are series."""
    return sorted((real_data / "series").iterdir())


@pytest.mark.real_data
@pytest.mark.parametrize("part", range(2))
def test_real_series_lie_in_their_known_order(real_data, part):
    """Every real series comes in the spatial order that was worked out for it by hand."""
    for folder in folders(real_data)[part::2]:
        records, _ = readable_records(folder)
        table = build(records, PROVENANCE)
        main = table.filter(pa.compute.equal(table["Stack"], 0))
        expected = (real_data / "order" / f"{folder.name}.txt").read_text().split()
        found = list(dict.fromkeys(main["SOPInstanceUID"].to_pylist()))
        assert found == expected, folder.name
