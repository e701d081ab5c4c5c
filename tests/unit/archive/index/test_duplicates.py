"""What a folder holds beside the stack that is shown: duplicates, other stacks, series and patients."""

from dataclasses import replace

import numpy as np
import pytest

import make_dicom as make
from dicom_series_preview.archive.index.build import build
from dicom_series_preview.archive.index.index import Index
from indexing import PROVENANCE, index_of, records_of


def files(index):
    """The object of each row."""
    return index.table["FileName"].to_pylist()


def duplicates(index):
    """By name, whose duplicate an object is."""
    return {one.name: one.of for one in index.provenance.duplicates}


# --- duplicates


def test_identical_objects_are_one():
    """Of objects that are the same under two names the first by name has rows, and the others are named."""
    one, two = make.encode(make.image(1)), make.encode(make.image(2))
    index = index_of({"b/1": one, "a/1": one, "c/1": one, "2": two})
    assert sorted(files(index)) == ["2", "a/1"]
    assert duplicates(index) == {"b/1": "a/1", "c/1": "a/1"}
    assert index.slice_count == 2
    assert index.provenance.warnings == ()


def test_the_order_of_records_makes_no_difference():
    """An index with duplicates does not depend on the order in which headers came."""
    objects = {name: make.encode(make.image(i % 3)) for i, name in enumerate("fbdaec")}
    records = records_of(objects)
    assert build(records, PROVENANCE).equals(build(records[::-1], PROVENANCE), check_metadata=True)


@pytest.mark.parametrize(
    "other",
    [
        make.encode(make.image(1, PatientComments="sent again")),
        make.encode(make.image(1), make.IMPLICIT),
        make.encode(make.image(1, Rows=8, PixelData=bytes(96))),
        make.encode(make.image(1)) + bytes(64),
    ],
    ids=["header", "syntax", "pixels", "size"],
)
def test_objects_that_differ_are_all_shown(other):
    """Objects that share a SOPInstanceUID and differ are no duplicates: all have rows, with a warning."""
    index = index_of({"a": make.encode(make.image(1)), "b": other, "c": make.encode(make.image(2))})
    assert sorted(files(index)) == ["a", "b", "c"]
    assert not duplicates(index)
    (warning,) = index.provenance.warnings
    assert warning.startswith("2 objects share a SOPInstanceUID")


def test_objects_without_a_uid_are_all_shown():
    """What has no SOPInstanceUID is nobody's duplicate."""
    uid = f"{make.SERIES_UID}.1".encode()
    data = make.encode(make.image(1)).replace(uid, bytes(len(uid)))
    index = index_of({"a": data, "b": data})
    assert sorted(files(index)) == ["a", "b"]
    assert index.provenance.warnings == ()


def test_a_number_that_is_none_is_no_difference():
    """A header that holds a NaN is the same as its copy."""
    data = make.encode(make.add(make.image(1), 0x00189073, "FD", float("nan")))
    assert files(index_of({"a": data, "b": data})) == ["a"]


def test_every_object_is_given_back():
    """An index gives back the records of duplicates too, so that it is built anew as it was."""
    objects = {
        "a": make.encode(make.image(1)),
        "b": make.encode(make.image(1)),
        "c": make.encode(make.image(2)),
    }
    index = index_of(objects)
    given = {record.name: record for record in index.records()}
    assert given == {record.name: record for record in records_of(objects)}
    assert [record.name for record in index.records(["b", "c"])] == ["c"]
    again = Index(build(index.records(), PROVENANCE))
    assert again.table.equals(index.table)
    assert again.provenance == index.provenance


def test_multi_frame_and_imageless_duplicates():
    """Duplicates of multi-frame objects and of reports are left out as a whole."""
    several = make.encode(make.image(5, NumberOfFrames=3, PixelData=bytes(144)))
    report = make.encode(make.report(6))
    index = index_of({"a": several, "b": several, "c": report, "d": report})
    assert files(index) == ["a", "a", "a", "c"]
    assert duplicates(index) == {"b": "a", "d": "c"}


# --- series and patients


def test_series_and_patients_are_counted():
    """SeriesInstanceUIDs and PatientIDs are counted over all objects, images or not."""
    objects = {
        "a": make.encode(make.image(1, PatientID="one")),
        "b": make.encode(make.image(2, PatientID="two ", SeriesInstanceUID="1.2")),
        "c": make.encode(make.report(3, PatientID="one")),
        "d": make.encode(make.image(4, PatientID="", SeriesInstanceUID="1.3")),
        "e": make.encode(make.image(5, PatientID="three", SeriesInstanceUID="1.4")),
    }
    said = index_of(objects).provenance
    assert (said.series_instance_uids, said.patient_ids) == (4, 3)
    assert said.warnings == ()


def test_one_series_of_two_patients_is_warned_of():
    """A SeriesInstanceUID with two PatientIDs is a warning, without the values."""
    index = index_of(
        {"a": make.encode(make.image(1, PatientID="one")), "b": make.encode(make.image(2, PatientID="two"))}
    )
    (warning,) = index.provenance.warnings
    assert warning == (
        "1 SeriesInstanceUID has objects of more than one PatientID: they may show different patients"
    )


@pytest.mark.parametrize("ids", [("one", "one "), ("one", None), ("one", ""), (None, None)])
def test_one_patient_is_no_warning(ids):
    """Spaces around a PatientID, and objects without one, are no second patient."""
    objects = {str(i): make.encode(make.image(i, PatientID=name)) for i, name in enumerate(ids)}
    said = index_of(objects).provenance
    assert said.patient_ids == (1 if ids[0] else 0)
    assert said.warnings == ()


# --- stacks


def test_stacks_are_described():
    """Each stack tells its series, plane, size, slices, whether it is a localizer, and its description."""
    axial = [make.image(i, SeriesDescription="Thorax", ImageType=["ORIGINAL", "PRIMARY"]) for i in (1, 2, 3)]
    coronal = make.image(
        4,
        SeriesInstanceUID="1.2.3",
        SeriesDescription="MPR",
        Modality="MR",
        ImageOrientationPatient=list(make.CORONAL),
        ImagePositionPatient=[0, 7, 0],
    )
    scout = make.image(5, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], Rows=8, PixelData=bytes(96))
    bare = make.image(6, ImageOrientationPatient=None, ImagePositionPatient=None, SeriesInstanceUID="1.9")
    objects = {f"{i}": make.encode(one) for i, one in enumerate([*axial, coronal, scout, bare])}
    stacks = index_of(objects).described_stacks()
    assert [
        (
            s.stack,
            s.series_instance_uid,
            s.plane,
            s.axis,
            s.rows,
            s.columns,
            s.slices,
            s.localizer,
            s.description,
        )
        for s in stacks
    ] == [
        (0, make.SERIES_UID, "axial", "Z", 4, 6, 3, False, "Thorax"),
        (1, "1.2.3", "coronal", "Y", 4, 6, 1, False, "MPR"),
        (2, "1.9", "", "I", 4, 6, 1, False, ""),
        (3, make.SERIES_UID, "axial", "Z", 8, 6, 1, True, ""),
    ]
    assert [(s.modality, s.image_type) for s in stacks[:2]] == [("CT", ("ORIGINAL", "PRIMARY")), ("MR", ())]
    assert (stacks[0].first_position, stacks[0].last_position) == (3.0, 1.0)


@pytest.mark.parametrize(
    ("degrees", "plane"), [(0, "axial"), (36, "axial"), (38, "oblique"), (45, "oblique"), (53.5, "coronal")]
)
def test_planes(degrees, plane):
    """A plane is named by the axis that its normal lies within 37 degrees of, else it is oblique."""
    turn = np.radians(degrees)
    turned = make.image(1, ImageOrientationPatient=[1, 0, 0, 0, float(np.cos(turn)), float(np.sin(turn))])
    assert index_of({"a": make.encode(turned)}).described_stacks()[0].plane == plane


def test_a_slides_label_is_for_finding_ones_way():
    """The label and the overview of a slide are told apart from its levels."""
    pixels = np.zeros((1, 1, 8, 8, 3), np.uint8)
    label = make.level(pixels, (8, 8), 2, ImageType=["ORIGINAL", "PRIMARY", "LABEL", "NONE"])
    objects = {"a": make.encode(make.level(pixels, (8, 8), 1)), "b": make.encode(label)}
    assert [stack.localizer for stack in index_of(objects).described_stacks()] == [False, True]


def test_a_root_goes_by_another_name():
    """An index can tell its root by a name: neither its rows nor its metadata then hold the URL."""
    index = index_of({"a": make.encode(make.image(1))}, replace(PROVENANCE, root="s3://planted-bucket/x"))
    named = Index.from_parquet(index.with_root("other").to_parquet())
    assert named.table["StorageRoot"].to_pylist() == ["other"]
    assert named.provenance == replace(index.provenance, root="other")
    assert "planted-bucket" not in str(named.table.schema.metadata) + str(named.table.to_pylist())
    assert named.table.schema.equals(index.table.schema)
