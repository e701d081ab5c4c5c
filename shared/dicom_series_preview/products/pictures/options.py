"""The single table of options, from which every door reads, checks and describes options.

Each key of a `TypedDict` below is an option. Its annotation has its Python type and an `Option` with the
rest: the reader of strings, the command line, the OpenAPI document, Python's signatures and the tables in
docs/ come from these rows. To add an option, add a row and use its value in the request.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypedDict, Union, get_args, get_origin, get_type_hints

from dicom_series_preview.pixels.contrast.presets import PRESETS
from dicom_series_preview.products.pictures.formats import Format, ImageFormat

DEFAULT_IMAGE_WIDTH = 128
DEFAULT_TILES = 6
DEFAULT_CONTRAST_ROWS = 2
MOST_CONTRASTS = 16
MOST_PLACES = 16
_LARGEST_SIDE = max(image_format.largest_side for image_format in ImageFormat)
_WEBP, _JPEG = ImageFormat.WEBP.default_quality, ImageFormat.JPEG.default_quality
_NAMES = tuple(name.removeprefix("ct-") for name in PRESETS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option, with each door's description.

    Attributes:
        name: Its name in a query, and with `--` and dashes on the command line; by default its key.
        keyword: Its key: its name in Python.
        type: `int`, `float`, `bool` or `str`.
        help: Its purpose, in `--help`.
        description: Its purpose, in the OpenAPI document; `help` if empty.
        in_python: Its purpose, in Python's help; `description` if empty.
        page: Its purpose, in the tables of docs/ (Markdown); `description` if empty.
        metavar: Its value's name in `--help`.
        default: Its default value.
        default_text: The default's text in `--help`, or empty.
        low: The least number, or None.
        high: The greatest number, or None.
        most: The greatest number in any format; it depends on more than the option, so no door states it.
        choices: The only texts allowed, or none if others are allowed too.
        suggestions: Texts that a shell completes.
        examples: Values for the OpenAPI document.
        values: The allowed texts, for the OpenAPI document.
        short: Another spelling on the command line, such as `-q`.
        required: It must be given.
        repeated: It may be given several times.
        only_once: The command line reports several instead of taking the last.
        deprecated: An earlier spelling of another one: Python lacks it, `--help` hides it.
    """

    name: str = ""
    keyword: str = ""
    type: type = str
    help: str = ""
    description: str = ""
    in_python: str = ""
    page: str = ""
    metavar: str = ""
    default: Any = None
    default_text: str = ""
    low: int | None = None
    high: int | None = None
    most: int | None = None
    choices: tuple[Any, ...] = ()
    suggestions: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    values: str = ""
    short: str = ""
    required: bool = False
    repeated: bool = False
    only_once: bool = False
    deprecated: bool = False
    annotation: Any = field(default=None, compare=False, repr=False)

    @property
    def flag(self) -> str:
        """Its spelling on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def summary(self) -> str:
        """Its purpose, in one sentence for HTTP."""
        return self.description or self.help

    @property
    def greatest(self) -> int | None:
        """The greatest allowed number, or None."""
        return self.most if self.high is None else self.high


def table_of(*kinds: type) -> tuple[Option, ...]:
    """Return the rows of several kinds of options, in their order.

    Args:
        *kinds: `TypedDict`s whose annotations hold an `Option` each.
    """
    rows = {}
    for kind in kinds:
        for keyword, annotation in get_type_hints(kind, include_extras=True).items():
            declared, option = get_args(annotation)
            value, choices = _type_of(declared)
            rows[keyword] = replace(
                option,
                name=option.name or keyword,
                keyword=keyword,
                type=value,
                choices=choices,
                annotation=declared,
            )
    return tuple(rows.values())


def own(table: Sequence[Option]) -> tuple[Option, ...]:
    """Return a table's rows without the options of every picture."""
    return tuple(option for option in table if option not in PICTURE)


def _type_of(declared: Any) -> tuple[type, tuple[Any, ...]]:  # noqa: ANN401 - an annotation
    """Return the type of an option's value, and its only allowed texts, if any."""
    if get_origin(declared) in (Union, UnionType):
        (declared,) = (one for one in get_args(declared) if one is not NoneType)
    if get_origin(declared) is Literal:
        return type(get_args(declared)[0]), get_args(declared)
    return (declared if isinstance(declared, type) else str), ()


_POSITION = "Position: 0.0 first (superior, posterior, right) to 1.0 last."
_START = Option(
    help="First position shown, 0.0 to 1.0.",
    description="First position shown.",
    in_python="First position shown, 0 to 1.",
    page="first position shown, 0 to 1; 0",
    metavar="POSITION",
    default=0,
    default_text="0.0",
    low=0,
    high=1,
)
_END = Option(
    help="Last position shown, 0.0 to 1.0.",
    description="Last position shown.",
    in_python="Last position shown, 0 to 1.",
    page="last position shown, 0 to 1; 1",
    metavar="POSITION",
    default=1,
    default_text="1.0",
    low=0,
    high=1,
)
_SLICE_OFFSET = Option(
    help="Slices to move on from the position.",
    page="how many slices to move on from the position; 0",
    metavar="N",
    default=0,
    default_text="0",
)
_CONTRAST = Option(
    help=f"Preset ({', '.join(_NAMES)}), WIDTH/CENTER, auto, or embedded; embedded:2 or embedded:NAME for "
    "another view of the file's.",
    description="The contrast; else the file's own, else by what it shows.",
    in_python="A preset such as `lung`, a window such as `1500/-500`, `auto` or `embedded`; by default the "
    "file's own, or what suits the image.",
    page=", ".join(f"`{name}`" for name in _NAMES)
    + " (also with `ct-`), `1500/-500`, `1500,-500`, `auto`, `embedded`, `embedded:2` or `embedded:NAME` "
    f"(the file's second view, or the one with that explanation); up to {MOST_CONTRASTS} times in "
    "`contrast-mosaic`; no effect on colour; the file's own, else "
    "[what suits the image](decisions/0009-default-contrast.md)",
    metavar="CONTRAST",
    suggestions=(*_NAMES, "auto", "embedded"),
    examples=("lung", "1500/-500", "auto"),
    only_once=True,
    values=f"{', '.join(PRESETS)} (also without ct-), WIDTH/CENTER, auto, embedded, embedded:NUMBER, "
    "embedded:NAME",
)


class PictureOptions(TypedDict, total=False):
    """Options of every picture."""

    image_width: Annotated[
        int,
        Option(
            help="Width of each image.",
            description="Width of each image in pixels: up to four times its own, or 512.",
            page="width of each image in pixels, at most four times its own (in true proportions) or 512, "
            f"whichever is more; {DEFAULT_IMAGE_WIDTH}",
            metavar="PIXELS",
            default=DEFAULT_IMAGE_WIDTH,
            default_text=str(DEFAULT_IMAGE_WIDTH),
            low=1,
            most=_LARGEST_SIDE,
        ),
    ]
    quality: Annotated[
        int | None,
        Option(
            help="0 (smallest) to 100 (best). A 6 x 6 mosaic of a CT takes some 40 kB at 25 (SSIM 0.91), "
            "55 at 50 (0.95), 70 at 75 (0.97); JPEG takes 70 at 50 (0.91). PNG loses nothing and has none.",
            description=f"0 (smallest) to 100 (best); by default {_WEBP} of WEBP and {_JPEG} of JPEG. "
            "PNG has none.",
            page=f"0 to 100; {_WEBP} for WebP, {_JPEG} for JPEG; PNG has none. "
            "[What each costs and shows](decisions/0022-encoders.md)",
            metavar="LEVEL",
            default_text=f"{_WEBP}; of JPEG {_JPEG}",
            low=0,
            high=100,
            short="-q",
        ),
    ]
    image_format: Annotated[
        Format,
        Option(
            name="format",
            help="Format of OUTPUT -: webp, jpeg, png.",
            description="Format of the picture; else Accept decides, WebP in doubt.",
            in_python="`webp`, `jpeg`, or `png`, which loses nothing.",
            page="`webp`, `jpeg`, `jpg` or `png` (lossless). The command line uses it for OUTPUT `-`; over "
            "HTTP, Accept decides without it; `webp`",
            metavar="FORMAT",
            default="webp",
            default_text="webp",
            suggestions=("webp", "jpeg", "png"),
        ),
    ]
    stack: Annotated[
        int,
        Option(
            help="Which stack of the series.",
            description="Which stack of the series; the index lists them.",
            page="which stack of the series (the index lists them); 0, the main one",
            metavar="N",
            default=0,
            default_text="0, the main one",
            low=0,
        ),
    ]
    at: Annotated[
        Sequence[str] | None,
        Option(
            help="What to show of a stack with more dimensions than its slices, such as EchoTime=4.6, b=1000 "
            "or time=3; once for each dimension. `explain` lists them.",
            description="The place on a dimension of the stack beside its slices, such as EchoTime=4.6, "
            "b=1000, time=3; once for each. By default the first; slices of one location run over time.",
            in_python='The places on dimensions of the stack beside its slices, such as `["b=1000"]`; by '
            "default the first of each.",
            page="the place on a dimension of the stack beside its slices: `EchoTime=4.6`, `b=1000`, "
            '`time=3`, `"image type=P"`; once for each dimension, which `explain` lists with their values '
            "([more](explain.md)); the first of each, but slices of a single location run over time",
            metavar="AXIS=VALUE",
            default_text="the first of each",
            repeated=True,
            values="AXIS=VALUE",
        ),
    ]
    series_uid: Annotated[
        str | None,
        Option(
            help="Which series, by SeriesInstanceUID, of a folder that holds several.",
            description="Which series, by SeriesInstanceUID, of a folder that holds several; the index "
            "lists them.",
            page="which series, by SeriesInstanceUID, of a folder that holds several "
            "([series by UID](series-by-uid.md)); all of them, where `stack` 0 is the largest",
            metavar="UID",
            default_text="all of them",
        ),
    ]
    untile: Annotated[
        bool,
        Option(
            help="Show the slices in Siemens mosaics.",
            page="shows the slices in Siemens mosaics",
            default=False,
        ),
    ]
    overlays: Annotated[
        bool,
        Option(
            help="Draw overlay planes into the images.",
            page="draws overlay planes (60xx) in white; their text may name the patient",
            default=False,
        ),
    ]
    labels: Annotated[
        bool,
        Option(
            help="Write each image's position, contrast and directions (L R A P H F) on it.",
            page="writes on each image its position (mm, or `#` and the number of its instance, its frame, "
            "or both: `#5.2`), its contrast in a contrast mosaic, and at its edges the patient's directions "
            "(L R A P H F), from ImageOrientationPatient, else PatientOrientation (not for animals on four "
            "legs); images need at least 64 x 64 pixels",
            default=False,
        ),
    ]


class MosaicOptions(PictureOptions, total=False):
    """Options of a mosaic."""

    tile_width: Annotated[
        int | None,
        Option(
            help="Images in a row.",
            description=f"Images in a row; {DEFAULT_TILES} where it is not given, or as few as hold all "
            "images.",
            page=f"images per row; {DEFAULT_TILES}, or fewer if those hold all images",
            metavar="N",
            default_text=f"{DEFAULT_TILES}, or as few as hold all",
            low=1,
            most=_LARGEST_SIDE,
        ),
    ]
    tile_height: Annotated[
        int | None,
        Option(
            help="Images in a column.",
            description="Images in a column; as tile_width where it is not given, or as few as hold all "
            "images.",
            page="images per column; as many as per row, or fewer if those hold all images",
            metavar="N",
            default_text="as --tile-width, or as few as hold all",
            low=1,
            most=_LARGEST_SIDE,
        ),
    ]
    start: Annotated[float, _START]
    end: Annotated[float, _END]
    contrast: Annotated[str | None, _CONTRAST]


class Position(TypedDict):
    """The position of an image."""

    position: Annotated[
        float,
        Option(
            help=_POSITION,
            description="0 first to 1 last.",
            page="0 first to 1 last",
            metavar="POSITION",
            low=0,
            high=1,
            required=True,
        ),
    ]


class ImageOptions(PictureOptions, total=False):
    """Options of one image, besides its position."""

    slice_offset: Annotated[int, _SLICE_OFFSET]
    contrast: Annotated[str | None, _CONTRAST]


class ContrastMosaicOptions(PictureOptions, total=False):
    """Options of a contrast mosaic, besides its contrasts."""

    position: Annotated[
        float | None,
        Option(
            help=f"{_POSITION} One image; or --start and --end.",
            description="One image; or start and end.",
            in_python="One image, 0 to 1; without it there are several, from `start` to `end`.",
            page="a single image, 0 first to 1 last; or give `start` and `end`",
            metavar="POSITION",
            low=0,
            high=1,
        ),
    ]
    slice_offset: Annotated[int | None, _SLICE_OFFSET]
    start: Annotated[float | None, _START]
    end: Annotated[float | None, _END]
    tile_height: Annotated[
        int | None,
        Option(
            help="Images of the range, one a row.",
            description=f"Images of the range; {DEFAULT_CONTRAST_ROWS} where not given, or as many as there "
            "are.",
            page=f"images from the range, one per row; {DEFAULT_CONTRAST_ROWS}, or 1 if the range has one",
            metavar="N",
            default_text=f"{DEFAULT_CONTRAST_ROWS}, or all if fewer",
            low=1,
            most=_LARGEST_SIDE,
        ),
    ]


class Contrasts(TypedDict):
    """The columns of a contrast mosaic."""

    contrasts: Annotated[
        Sequence[str],
        replace(
            _CONTRAST,
            name="contrast",
            description="The columns; needed unless one is given the earlier way.",
            in_python="The columns, such as `lung`, `1500/-500`, `auto`.",
            repeated=True,
        ),
    ]


class EarlierContrast(TypedDict, total=False):
    """The earlier ways to request a contrast, which strings can still use."""

    contrast_preset: Annotated[
        str,
        Option(
            description="A preset, instead of contrast.",
            page="an earlier way to give a preset as `contrast`",
            deprecated=True,
        ),
    ]
    window_width: Annotated[
        float,
        Option(
            description="With window_center, instead of contrast.",
            page="with `window_center`, an earlier way to give a window as `contrast`",
            deprecated=True,
        ),
    ]
    window_center: Annotated[
        float,
        Option(
            description="With window_width, instead of contrast.",
            page="with `window_width`, an earlier way to give a window as `contrast`",
            deprecated=True,
        ),
    ]


class IndexOptions(TypedDict, total=False):
    """Options of an index."""

    limit: Annotated[
        int | None,
        Option(
            help="Read no more than N objects of a series.",
            description="Read no more than this many objects.",
            page="read at most this many objects of the series",
            metavar="N",
            low=1,
        ),
    ]


PICTURE = table_of(PictureOptions)
EARLIER = table_of(EarlierContrast)
MOSAIC = table_of(MosaicOptions, EarlierContrast)
IMAGE = table_of(Position, ImageOptions, EarlierContrast)
CONTRAST_MOSAIC = table_of(ContrastMosaicOptions, Contrasts, EarlierContrast)
INDEX = table_of(IndexOptions)
