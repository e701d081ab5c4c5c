"""One table of options: an option that is added to it is there at every door."""

import inspect
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import click
import numpy as np
import pytest
from click.testing import CliRunner

from dicom_sample import write_sample
from dicom_series_preview import Series
from dicom_series_preview.base.errors import CombinedRequestError, RequestError, quoted
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.doors.cli.declare import Command, options_of
from dicom_series_preview.doors.python.signatures import takes
from dicom_series_preview.products.pictures.formats import Format, format_names
from dicom_series_preview.products.pictures.options import (
    CONTRAST_MOSAIC,
    EARLIER,
    IMAGE,
    MOSAIC,
    MosaicOptions,
    Option,
    own,
    table_of,
)
from dicom_series_preview.products.pictures.reading import Reader
from dicom_series_preview.products.pictures.request_parts import Picture
from dicom_series_preview.products.pictures.requests import ContrastRequest, ImageRequest, MosaicRequest
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.sources.storage.local import LocalStorage
from dicom_series_preview.web.http.openapi import parameters_of
from docs import option_tables


class WithGamma(MosaicOptions, total=False):
    """The options of a mosaic, and one more."""

    gamma_shift: Annotated[
        int,
        Option(
            help="Shift of gamma.", page="shift of gamma; 3", metavar="N", default=3, default_text="3", low=1
        ),
    ]


TABLE = table_of(WithGamma)


def test_strings_are_read() -> None:
    """The reader of strings takes an added option, checks it, and has its default."""
    assert Reader.of_strings(TABLE, {"gamma_shift": ["7"]}).value("gamma_shift") == 7
    assert Reader.of_strings(TABLE, {}).value("gamma_shift") == 3
    reader = Reader.of_strings(TABLE, {"gamma_shift": ["0"]})
    with pytest.raises(RequestError, match=r"^gamma_shift: 0 is out of range; give 1 or more$"):
        reader.finish()


def test_the_command_line_takes_it() -> None:
    """`--help` lists an added option, and a command gets its text."""
    got: dict[str, Any] = {}

    @click.command(cls=Command)
    @options_of(TABLE)
    def command(**options: Any) -> None:
        got.update(options)

    told = CliRunner().invoke(command, ["--help"]).output
    assert "--gamma-shift N" in told
    assert "Shift of gamma.  [default: 3]" in " ".join(told.split("\n")).replace("                      ", "")
    assert CliRunner().invoke(command, ["--gamma-shift", "7"]).exit_code == 0
    assert got["gamma_shift"] == "7"


def test_openapi_has_it() -> None:
    """The OpenAPI document describes an added option."""
    (parameter,) = [one for one in parameters_of(TABLE) if one["name"] == "gamma_shift"]
    schema = {"type": "integer", "default": 3, "minimum": 1}
    assert parameter == {
        "name": "gamma_shift",
        "in": "query",
        "description": "Shift of gamma.",
        "schema": schema,
    }


def test_python_has_it() -> None:
    """A method has an added option in its signature and docstring, and refuses those that are not there."""

    @takes(TABLE)
    def mosaic(**options: Any) -> dict[str, Any]:
        """Make a mosaic."""
        return options

    parameter = inspect.signature(mosaic).parameters["gamma_shift"]
    assert (parameter.kind, parameter.default, parameter.annotation) == (parameter.KEYWORD_ONLY, 3, int)
    assert "gamma_shift: Shift of gamma." in (mosaic.__doc__ or "")
    assert mosaic(gamma_shift=7) == {"gamma_shift": 7}
    with pytest.raises(TypeError, match="gamma"):
        mosaic(gamma=7)
    assert Reader.of_values(TABLE, {"gamma_shift": 7}).value("gamma_shift") == 7


def test_the_pages_have_it() -> None:
    """The tables of both pages list an added option."""
    assert "| `--gamma-shift` | pictures | shift of gamma; 3 |" in option_tables.command_line(
        {"mosaic": TABLE}
    )
    assert "| `gamma_shift` | pictures | shift of gamma; 3 |" in option_tables.http({"mosaic": TABLE})


@pytest.mark.parametrize(
    ("table", "method"), [(MOSAIC, "mosaic"), (IMAGE, "image"), (CONTRAST_MOSAIC, "contrast_mosaic")]
)
def test_every_option_is_told_at_every_door(table: tuple[Option, ...], method: str) -> None:
    """No option of a picture is without a text for help, pages and Python, or missing in Python."""
    table = tuple(option for option in table if option not in EARLIER)
    assert all(option.help and option.page for option in table)
    told = getattr(Series, method).__doc__
    assert all(f"{option.keyword}: " in told for option in table)
    assert list(inspect.signature(getattr(Series, method)).parameters)[1] in (
        own(table)[0].keyword,
        "contrasts",
    )


def test_format_names_are_those_of_the_formats() -> None:
    """The type of Python's `image_format` names each format."""
    assert list(get_args(Format)) == format_names()


VALUES = {
    "tile_width": 4,
    "tile_height": np.int64(2),
    "start": 0.25,
    "end": np.float32(0.5),
    "contrast": "lung",
    "image_width": 64,
    "image_format": "jpeg",
    "quality": None,
    "stack": 1,
    "untile": np.True_,
    "overlays": False,
    "labels": True,
}


def test_values_and_strings_make_the_same_request() -> None:
    """Python's values and the strings that say them make equal requests; None is not given."""
    texts = {name: [str(value).lower()] for name, value in VALUES.items() if value is not None}
    texts["format"] = texts.pop("image_format")
    assert MosaicRequest.from_values("S", VALUES) == MosaicRequest.from_strings("S", "-", texts)
    image = {"position": Fraction(1, 2), "slice_offset": -1}
    assert ImageRequest.from_values("S", image) == ImageRequest.from_strings(
        "S", "-", {"position": ["0.5"], "slice_offset": ["-1"]}
    )
    compared = {"contrasts": ("lung", "1500/-500"), "tile_height": 3, "position": None, "start": None}
    assert ContrastRequest.from_values("S", compared) == ContrastRequest.from_strings(
        "S", "-", {"contrast": ["lung", "1500/-500"], "tile_height": ["3"]}
    )


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"tile_width": "4"}, "tile_width: '4' is no whole number"),
        ({"tile_width": 4.5}, "tile_width: '4.5' is no whole number"),
        ({"tile_width": True}, "tile_width: 'True' is no whole number"),
        ({"tile_width": 0}, "tile_width: 0 is out of range; give 1 to 65500"),
        ({"start": "0.5"}, "start: '0.5' is no number"),
        ({"start": float("nan")}, "start: nan is out of range; give 0 to 1"),
        ({"start": 10**400}, f"start: {quoted(str(10**400))} is no number"),
        ({"untile": "true"}, "untile: 'true' is neither True nor False"),
        ({"start": np.True_}, "start: 'True' is no number"),
        ({"contrast": 7}, "contrast: '7' is no text"),
        ({"image_format": "gif"}, "image_format: 'gif' is not a format; use webp, jpg, jpeg or png"),
    ],
)
def test_values_are_of_the_options_type(options: dict[str, Any], line: str) -> None:
    """A number is a number, not a text that says one; what is wrong is said in one line."""
    with pytest.raises(RequestError) as caught:
        MosaicRequest.from_values("S", options)
    assert str(caught.value) == line


def test_all_that_is_wrong_is_said_at_once() -> None:
    """Values are told together, as strings are."""
    with pytest.raises(CombinedRequestError) as caught:
        MosaicRequest.from_values("S", {"tile_width": 0, "quality": 101})
    assert len(caught.value.errors) == 2


def test_earlier_ways_are_for_strings() -> None:
    """Python has no earlier way to say a contrast."""
    names = {option.keyword for option in EARLIER}
    assert not names & set(inspect.signature(Series.mosaic).parameters)


class WithTurn(MosaicOptions, total=False):
    """The options of a mosaic, and a choice of texts and one of numbers."""

    turn: Annotated[Literal["left", "right"], Option(default="left")]
    degrees: Annotated[Literal[0, 90], Option(default=0)]


@pytest.mark.parametrize(
    ("name", "text", "value", "refused"),
    [("turn", "right", "right", "up"), ("degrees", "90", 90, 45)],
)
def test_choices_are_checked(name: str, text: str, value: object, refused: object) -> None:
    """An option of a few values takes those alone, from strings and from Python, and says which they are."""
    table = table_of(WithTurn)
    choices = ", ".join(str(one) for one in next(one for one in table if one.name == name).choices)
    line = rf"^{name}: '{refused}' is none of {choices}$"
    assert Reader.of_strings(table, {name: [text]}).value(name) == value
    assert Reader.of_values(table, {name: value}).value(name) == value
    for reader in (
        Reader.of_strings(table, {name: [str(refused)]}),
        Reader.of_values(table, {name: refused}),
    ):
        with pytest.raises(RequestError, match=line):
            reader.finish()


@dataclass(frozen=True, slots=True)
class TurnedPicture(Picture):
    """The form of a picture, with one more option."""

    degrees: int = 0


@dataclass(frozen=True, slots=True)
class MirroredMosaic(MosaicRequest):
    """A mosaic, with one more option of its own."""

    mirrored: bool = False


def test_an_added_option_changes_the_identity(tmp_path: Path) -> None:
    """A new option's values have ETags of their own; its default keeps today's."""
    series = write_sample(tmp_path, slices=2)
    service = PreviewService(LocalStorage(tmp_path, 8), None, Limits())
    plain = MosaicRequest.from_strings(series.name, "a.webp", {})
    known = {field.name: getattr(plain, field.name) for field in fields(plain)}
    form = {field.name: getattr(plain.picture, field.name) for field in fields(plain.picture)}

    def identity(degrees: int, *, mirrored: bool) -> str:
        request = MirroredMosaic(
            **{**known, "picture": TurnedPicture(**form, degrees=degrees)}, mirrored=mirrored
        )
        return service.within(Deadline()).plan(request).identity

    assert identity(0, mirrored=False) == service.within(Deadline()).plan(plain).identity
    found = {identity(degrees, mirrored=mirrored) for degrees in (0, 90) for mirrored in (False, True)}
    assert len(found) == 4


def test_the_defaults_of_a_signature_may_be_given() -> None:
    """A call with every default that the signature states is the call without them."""
    bound = inspect.signature(Series.contrast_mosaic).bind(None, "lung", position=0.5)
    bound.apply_defaults()
    given = {"contrasts": bound.args[1:], **bound.kwargs}
    asked = {"contrasts": ("lung",), "position": 0.5}
    assert ContrastRequest.from_values("S", given) == ContrastRequest.from_values("S", asked)


def test_signatures_are_typed_and_named() -> None:
    """Each option has its type among a method's hints, and a wrong call names the method."""
    assert get_type_hints(Series.image)["quality"] == int | None
    with pytest.raises(
        TypeError, match=r"^Series\.mosaic\(\) got an unexpected keyword argument 'tile_widht'$"
    ):
        Series.mosaic(None, tile_widht=4)
