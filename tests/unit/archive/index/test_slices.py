import pytest

import make_dicom as make
from dicom_series_preview.sources.headers.locations import FrameLocation
from indexing import index_of, only, series


def test_slices_say_what_it_takes_to_show_them():
    """A slice has its object's name, size and version, its frame's place, and its description."""
    objects = series(make.image(3))
    shown = index_of(objects).slices([0])[0]
    data = objects["000.dcm"]
    assert (shown.row, shown.file_name, shown.object_version) == (0, "000.dcm", "v-000.dcm")
    assert shown.object_size == len(data)
    assert shown.location == FrameLocation(len(data) - 48, 48)
    assert (shown.frame_number, shown.stack) == (1, 0)
    assert (shown.primary_axis, shown.primary_position) == ("Z", 3.0)
    assert shown.sop_instance_uid == f"{make.SERIES_UID}.3"
    assert shown.pixel_spacing_mm == (0.5, 0.25)
    pixels = shown.pixels
    assert (pixels.rows, pixels.columns, pixels.bits_allocated, pixels.bits_stored) == (4, 6, 16, 12)
    assert (pixels.high_bit, pixels.pixel_representation, pixels.pixel_keyword) == (11, 0, "PixelData")
    assert pixels.transfer_syntax_uid == make.EXPLICIT
    assert (shown.contrast.rescale_slope, shown.contrast.rescale_intercept) == (1.0, -1024.0)


def test_what_is_missing_has_the_standards_default():
    """A missing slope is 1, an intercept 0, a function LINEAR, a sample 1; BitsStored is BitsAllocated."""
    shown = only(
        make.image(
            RescaleSlope=None,
            RescaleIntercept=None,
            SamplesPerPixel=None,
            BitsStored=None,
            HighBit=None,
            PhotometricInterpretation=None,
            PixelRepresentation=None,
            PixelSpacing=None,
            ImagePositionPatient=None,
        )
    )
    contrast, pixels = shown.contrast, shown.pixels
    assert (contrast.rescale_slope, contrast.rescale_intercept) == (1.0, 0.0)
    assert (contrast.voi_lut_function, contrast.windows, contrast.voi_luts) == ("LINEAR", (), ())
    assert contrast.modality_lut is None
    assert contrast.pixel_padding_value is None
    assert (pixels.samples_per_pixel, pixels.bits_stored, pixels.high_bit) == (1, 16, 15)
    assert (pixels.photometric_interpretation, pixels.pixel_representation) == ("MONOCHROME2", 0)
    assert pixels.palette is None
    assert shown.pixel_spacing_mm is None
    assert shown.pixel_aspect_ratio is None


@pytest.mark.parametrize(
    ("elements", "shape"),
    [
        ({"PixelSpacing": [1, 2], "ImagerPixelSpacing": [3, 4]}, (1, 2)),
        ({"PixelSpacing": None, "ImagerPixelSpacing": [3, 4], "NominalScannedPixelSpacing": [5, 6]}, (3, 4)),
        ({"PixelSpacing": None, "NominalScannedPixelSpacing": [5, 6], "PixelAspectRatio": [7, 8]}, (5, 6)),
        ({"PixelSpacing": None, "PixelAspectRatio": [1, 2]}, (1, 2)),
        ({"PixelSpacing": None}, (1, 1)),
    ],
)
def test_spacing_precedence(elements, shape):
    """PixelSpacing wins over ImagerPixelSpacing, NominalScannedPixelSpacing and PixelAspectRatio."""
    shown = only(make.image(**elements))
    assert shown.pixel_shape == shape


@pytest.mark.parametrize("unusable", [[0, 0], [0, 1], [1, 0], [-1, -1], [0.5], [1, 2, 3]])
def test_unusable_spacing_is_passed_over(unusable):
    """A pair that is no two numbers above 0 gives way to the next."""
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        elements = {"PixelSpacing": None, name: unusable}
        assert only(make.image(**elements)).pixel_shape == (1, 1)
        assert only(make.image(**elements, PixelAspectRatio=[2, 3])).pixel_shape == (2, 3)
    given_way = only(make.image(PixelSpacing=unusable, ImagerPixelSpacing=[0.5, 0.25]))
    assert given_way.pixel_shape == given_way.pixel_spacing_mm == (0.5, 0.25)


@pytest.mark.parametrize("spacing", [[20, 1], [0.05, 1], [1, 100], [5000, 1]])
def test_long_pixels_are_believed(spacing):
    """However much longer a pixel is one way than the other: M-mode and depth scans have such."""
    assert only(make.image(PixelSpacing=spacing)).pixel_shape == tuple(spacing)
