import make_dicom as make
from dicom_series_preview.base.image import Content, Window
from indexing import only


def test_slices_say_what_they_show():
    """What decides a window that no file gives is in the index, of each frame what holds for it."""
    plain = only(
        make.image(ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], BodyPartExamined="HEAD", RescaleType="HU")
    )
    assert plain.contrast.content == Content(
        modality="CT",
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        body_part="HEAD",
        rescale_type="HU",
        is_rescaled=True,
        stored_range=(0, 4095),
    )
    region = make.dataset(CodeValue="89546000", CodingSchemeDesignator="SCT", CodeMeaning="Skull")
    groups = make.orientation_group(
        FrameAnatomySequence=[make.dataset(AnatomicRegionSequence=[region])],
        PixelValueTransformationSequence=[
            make.dataset(RescaleIntercept=0.0, RescaleSlope=1.0, RescaleType="MGML")
        ],
        CTImageFrameTypeSequence=[make.dataset(FrameType=["DERIVED", "PRIMARY", "VOLUME", "MAT_SPECIFIC"])],
    )
    source = make.enhanced([make.position_group(0, 0, 1)], groups, BitsStored=16, PixelRepresentation=1)
    assert only(source).contrast.content == Content(
        modality="CT",
        image_type=("DERIVED", "PRIMARY", "VOLUME", "MAT_SPECIFIC"),
        body_part="Skull",
        rescale_type="MGML",
        is_rescaled=True,
        stored_range=(-32768, 32767),
    )
    bare = make.image(Modality=None, RescaleIntercept=None, RescaleSlope=None, AnatomicRegionSequence=[])
    assert only(bare).contrast.content == Content(stored_range=(0, 4095))


def test_windows_keep_the_files_order():
    """Windows come in the file's order, unequal numbers cut to pairs, zero widths as they are."""
    shown = only(
        make.image(
            WindowCenter=[40.0, 300.0, 9.0],
            WindowWidth=[0.0, 1500.0],
            WindowCenterWidthExplanation=["SOFT"],
            VOILUTFunction="SIGMOID",
        )
    )
    assert shown.contrast.windows == (Window(40, 0, "SOFT"), Window(300, 1500, ""))
    assert shown.contrast.voi_lut_function == "SIGMOID"
