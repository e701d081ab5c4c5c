import pytest

from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.pixels.contrast.presets import PRESETS
from dicom_series_preview.pixels.contrast.spec import DEFAULT, ContrastSpec, parse_contrast


@pytest.mark.parametrize(
    ("text", "label", "width", "center"),
    [
        ("ct-lung", "ct-lung", 1500, -500),
        ("lung", "ct-lung", 1500, -500),
        ("CT-Bone", "ct-bone", 2000, 300),
        ("ct_brain", "ct-brain", 80, 40),
        ("abdomen", "ct-abdomen", 350, 50),
        ("liver", "ct-liver", 150, 30),
        ("mediastinum", "ct-mediastinum", 350, 50),
        ("soft", "ct-soft-tissue", 400, 50),
        ("ct-soft", "ct-soft-tissue", 400, 50),
        ("soft_tissue", "ct-soft-tissue", 400, 50),
        (" Soft-Tissue ", "ct-soft-tissue", 400, 50),
        ("ct_soft_tissue", "ct-soft-tissue", 400, 50),
    ],
)
def test_presets_have_names_with_and_without_ct(text, label, width, center):
    """A preset is named with or without `ct-`, in any case, with hyphens or underscores."""
    spec = parse_contrast(text)
    assert (spec.kind, str(spec), spec.width, spec.center) == ("preset", label, width, center)


@pytest.mark.parametrize(
    ("text", "label", "width", "center"),
    [
        ("1500/-500", "1500/-500", 1500, -500),
        ("1500,-500", "1500/-500", 1500, -500),
        ("1500, -500", "1500/-500", 1500, -500),
        (" 400 / +40 ", "400/40", 400, 40),
        ("0.005/.0025", "0.005/0.0025", 0.005, 0.0025),
        ("1e-8/0", "1e-08/0", 1e-8, 0),
        ("1.50E3/-5e2", "1500/-500", 1500, -500),
    ],
)
def test_custom_windows_are_width_and_center(text, label, width, center):
    """A custom window is width, then center, with a slash or a comma; its canonical label parses again."""
    spec = parse_contrast(text)
    assert (spec.kind, str(spec), spec.width, spec.center) == ("custom", label, width, center)
    assert parse_contrast(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("auto", "auto"),
        ("AUTO", "auto"),
        ("embedded", "embedded"),
        ("Embedded:2", "embedded:2"),
        ("embedded: LUNG ", "embedded:LUNG"),
    ],
)
def test_words(text, label):
    """`auto`, `embedded`, and an embedded view by number or by name."""
    assert str(parse_contrast(text)) == label
    assert parse_contrast(label) == parse_contrast(text)


@pytest.mark.parametrize("name", PRESETS)
def test_every_label_of_a_preset_parses_to_itself(name):
    """A preset's label is its name."""
    assert str(parse_contrast(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "ct", "ct-", "foo", "1500", "1500/", "/40", "0/40", "-1/40", "-0/0", "nan/0", "inf/0",
        "1/nan", "1e999/0", "1/1e999", "1/2/3", "1;2", "embedded:", "embedded:0", "embedded:00", "auto:2",
        "embedded:a\nb", "embedded:" + "9" * 5000, "1500/-500\n; x", "x" * 500, "\u0661/2", "1_0/2",
    ],
)  # fmt: skip
def test_anything_else_is_refused_in_one_line_with_an_example(text):
    """What is no contrast is refused with one line that shows a valid one."""
    with pytest.raises(RequestError) as caught:
        parse_contrast(text)
    assert caught.value.parameter == "contrast"
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400
    assert "1500/-500" in str(caught.value) or "embedded:2" in str(caught.value)


def test_no_wish_is_embedded_else_auto():
    """The default is a wish of its own."""
    assert ContrastSpec("default") == DEFAULT
    assert str(DEFAULT) == "default"
