"""The command line. Heavy imports wait until a command runs: `--help` and completion load none of them."""

from __future__ import annotations

import gc
import json
import os
import re
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from dicom_series_preview._version import __version__
from dicom_series_preview.base.errors import OutputError, PreviewError, RequestError, counted
from dicom_series_preview.base.settings import (
    CACHE_DIR_VARIABLE,
    DEFAULT_ROOT,
    SERVED_BYTES,
    TOKEN_VARIABLE,
    Limits,
    Settings,
)
from dicom_series_preview.doors.cli.console import (
    Progress,
    answer,
    answer_table,
    line_of,
    log,
    output_error,
    say,
    shown,
)
from dicom_series_preview.doors.cli.opening import begin, given, request, service_of, settings_of
from dicom_series_preview.doors.cli.rendering import write_picture
from dicom_series_preview.doors.cli.stopping import end_when_told, end_with, status_of
from dicom_series_preview.pixels.contrast.presets import PRESETS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PROGRAM = "dicom-series-preview"
# Who asks a server does not wait any longer.
_SERVED_S = 300.0
_BYTES = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZES = {
    "": 1,
    "b": 1,
    **{f"{letter}b": size for letter, size in _BYTES.items()},
    **{f"{letter}ib": 2 ** (10 * power) for power, letter in enumerate(_BYTES, 1)},
}
_MOST_QUANTITY = 2**60
_AGES_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_FORMATS = ("webp", "jpeg", "png")
_PRESETS = tuple(name.removeprefix("ct-") for name in PRESETS)

F = TypeVar("F", bound="Callable[..., Any]")
_EXAMPLES = {
    "mosaic": """
      dicom-series-preview mosaic 38902e14-b11f-4548-910e-771ee757dc82 mosaic.webp
      dicom-series-preview mosaic '389*' mosaic.jpg --tile-width 8 --tile-height 5 -q 80
      dicom-series-preview mosaic ./SERIES mosaic.png --start 0.2 --end 0.8 --contrast lung
      dicom-series-preview mosaic /data/dicom/SERIES - --format jpeg --report report.json > mosaic.jpg
    """,
    "get-image": """
      dicom-series-preview get-image SERIES middle.webp --position 0.5
      dicom-series-preview get-image SERIES next.webp --position 0.5 --slice-offset 1
      dicom-series-preview get-image SERIES large.jpg --position 0 --contrast 350/50 --image-width 512 -q 85
    """,
    "contrast-mosaic": """
      dicom-series-preview contrast-mosaic SERIES c.webp --position 0.5 --contrast lung --contrast bone
      dicom-series-preview contrast-mosaic SERIES c.webp --start 0.3 --contrast auto --contrast 80/40
    """,
    "build-index": """
      dicom-series-preview build-index SERIES1 SERIES2 --cache-dir /cache
      dicom-series-preview build-index 'ct-*' --root /data/dicom --json
      dicom-series-preview build-index SERIES -o .
    """,
    "get-index": """
      dicom-series-preview get-index SERIES
      duckdb -c "SELECT * FROM '$(dicom-series-preview get-index SERIES)'"
    """,
    "serve": """
      dicom-series-preview serve --root /data/dicom
      curl -o mosaic.webp 'http://127.0.0.1:8080/series/SERIES/mosaic?contrast=lung'
    """,
    "codecs": """
      dicom-series-preview codecs
      dicom-series-preview codecs --json
    """,
    "list": """
      dicom-series-preview cache list
      dicom-series-preview cache list --json --cache-dir /cache
    """,
    "prune": """
      dicom-series-preview cache prune --max-size 500MB
      dicom-series-preview cache prune --max-age 30d
    """,
    "clear": """
      dicom-series-preview cache clear
      dicom-series-preview cache clear --yes --cache-dir /cache
    """,
    "sample": """
      dicom-series-preview sample demo
    """,
}


class _Command(click.Command):
    """A command whose help ends with examples, and whose mistakes of use point to it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; click does not tell of every mistake which command it is of."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are to be typed."""
        examples = _EXAMPLES.get(ctx.info_name or "", "")
        with formatter.section("Examples"):
            for line in examples.strip().splitlines():
                formatter.write(f"  {line.strip()}\n")
        super().format_epilog(ctx, formatter)


class _InterruptedError(Exception):
    """An interrupt, which click would report in its own way."""


class _Program(click.Group):
    """The program."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _InterruptedError from error


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
def cli() -> None:
    """See what is inside a DICOM series in S3, on HTTP or on disk without downloading it.

    SERIES is a UUID, a UID, a folder below --root, a prefix such as '389*', a path (./SERIES, SERIES/, one
    DICOM file), or a full s3://, http(s)://, file:// URL.
    """


def _options(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _complete_contrast(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in (*_PRESETS, "auto", "embedded") if name.startswith(incomplete)]


def _complete_format(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in _FORMATS if name.startswith(incomplete)]


def _complete_folder(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="dir")]


class _SeriesType(click.types.StringParamType):
    """A series' name, which may be a path."""

    name = "series"

    def shell_complete(
        self, _ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Let the shell complete folders and files."""
        return [CompletionItem(incomplete, type="file")]


_SERIES = click.argument("series", type=_SeriesType())
_OUTPUT = click.argument("output", type=click.Path(dir_okay=False, allow_dash=True))
_ROOT = click.option(
    "--root",
    metavar="ROOT",
    shell_complete=_complete_folder,
    help=f"s3://, http(s)://, file:// or a folder.  [default: {DEFAULT_ROOT}]",
)
_CACHE_DIR = click.option(
    "--cache-dir",
    metavar="DIR",
    shell_complete=_complete_folder,
    help=f"Where indices are kept. [default: ${CACHE_DIR_VARIABLE}, else the user's cache]",
)
_VERBOSE = click.option("-v", "--verbose", is_flag=True, help="Say what is done; show the trace of an error.")
_QUIET = click.option("--quiet", is_flag=True, help="Say nothing but warnings and errors.")
_JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print what came of it as JSON to standard output."
)
_QUALITY = (
    "0 (smallest) to 100 (best). A 6 x 6 mosaic of a CT takes some 40 kB at 25 (SSIM 0.91), 55 at 50 (0.95), "
    "70 at 75 (0.97); JPEG takes 70 at 50 (0.91). PNG loses nothing and has none.  [default: 25; of JPEG 50]"
)
_PICTURE = _options(
    _ROOT,
    click.option("--image-width", metavar="PIXELS", help="Width of each image.  [default: 128]"),
    click.option("-q", "--quality", metavar="LEVEL", help=_QUALITY),
    click.option(
        "--format",
        metavar="FORMAT",
        shell_complete=_complete_format,
        help=f"Format of OUTPUT -: {', '.join(_FORMATS)}.  [default: webp]",
    ),
    click.option("--stack", metavar="N", help="Which stack of the series.  [default: 0, the main one]"),
    click.option(
        "--untile", is_flag=True, flag_value="true", default=None, help="Show the slices in Siemens mosaics."
    ),
    click.option("--overlays", is_flag=True, flag_value="true", help="Draw overlay planes into the images."),
    click.option(
        "--labels",
        is_flag=True,
        flag_value="true",
        help="Write each image's position, contrast and directions (L R A P H F) on it.",
    ),
    _CACHE_DIR,
    click.option("--no-cache", is_flag=True, help="Keep no index and use none."),
    click.option(
        "--report",
        metavar="FILE",
        type=click.Path(dir_okay=False, allow_dash=True),
        help="Write what is shown, skipped and spent as JSON; - is standard output.",
    ),
    _JSON,
    _QUIET,
    _VERBOSE,
)
_CONTRAST = _options(
    click.option(
        "--contrast",
        multiple=True,
        metavar="CONTRAST",
        shell_complete=_complete_contrast,
        help=f"Preset ({', '.join(_PRESETS)}), WIDTH/CENTER, auto, or embedded; embedded:2 or "
        "embedded:NAME for another view of the file's.",
    ),
    click.option("--contrast-preset", hidden=True),
    click.option("--window-width", hidden=True),
    click.option("--window-center", hidden=True),
)
_START = click.option("--start", metavar="POSITION", help="First position shown, 0.0 to 1.0.  [default: 0.0]")
_END = click.option("--end", metavar="POSITION", help="Last position shown, 0.0 to 1.0.  [default: 1.0]")
_POSITION = "Position: 0.0 first (superior, posterior, right) to 1.0 last."
_OFFSET = click.option(
    "--slice-offset", metavar="N", help="Slices to move on from the position.  [default: 0]"
)


@cli.command(cls=_Command)
@_SERIES
@_OUTPUT
@click.option("--tile-width", metavar="N", help="Images in a row.  [default: 6, or as few as hold all]")
@click.option(
    "--tile-height",
    metavar="N",
    help="Images in a column.  [default: as --tile-width, or as few as hold all]",
)
@_START
@_END
@_CONTRAST
@_PICTURE
def mosaic(series: str, output: str, **options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Write a grid of images that are spread evenly over SERIES to OUTPUT (.webp, .jpg, .jpeg, .png or -)."""
    opening = begin(series, options)
    from dicom_series_preview.products.pictures.requests import MosaicRequest  # noqa: PLC0415 - loads numpy and pyarrow

    asked = request(opening, series, MosaicRequest.from_strings, output, given(options))
    write_picture(opening, (series, output), options, asked)


@cli.command(cls=_Command, name="get-image")
@_SERIES
@_OUTPUT
@click.option("--position", metavar="POSITION", help=f"{_POSITION}  [required]")
@_OFFSET
@_CONTRAST
@_PICTURE
def get_image(series: str, output: str, **options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Write the one image at a position of SERIES to OUTPUT (.webp, .jpg, .jpeg, .png or -)."""
    opening = begin(series, options)
    from dicom_series_preview.products.pictures.requests import ImageRequest  # noqa: PLC0415 - loads numpy and pyarrow

    asked = request(opening, series, ImageRequest.from_strings, output, given(options))
    write_picture(opening, (series, output), options, asked)


@cli.command(cls=_Command, name="contrast-mosaic")
@_SERIES
@_OUTPUT
@click.option("--position", metavar="POSITION", help=f"{_POSITION} One image; or --start and --end.")
@_OFFSET
@_START
@_END
@click.option(
    "--tile-height", metavar="N", help="Images of the range, one a row.  [default: 2, or all if fewer]"
)
@_CONTRAST
@_PICTURE
def contrast_mosaic(series: str, output: str, **options: Any) -> None:  # noqa: ANN401 - as click passes it
    """Write images of SERIES to OUTPUT, each --contrast a column."""
    opening = begin(series, options)
    from dicom_series_preview.products.pictures.requests import ContrastRequest  # noqa: PLC0415 - loads numpy and pyarrow

    asked = request(opening, series, ContrastRequest.from_strings, output, given(options))
    write_picture(opening, (series, output), options, asked)


@cli.command(cls=_Command, name="build-index")
@click.argument("series", nargs=-1, required=True, type=_SeriesType())
@_ROOT
@_CACHE_DIR
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    shell_complete=_complete_folder,
    help="Write the one index to DIR instead of the cache.",
)
@click.option("--limit", metavar="N", help="Read no more than N objects of a series.")
@_JSON
@_QUIET
@_VERBOSE
def build_index(series: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Build the indices of one or more SERIES; of a prefix such as 'ct-*', of all that it matches."""
    from dicom_series_preview.doors.cli.building import build_indices  # noqa: PLC0415 - loads numpy and pyarrow

    if options["output"] and options["cache_dir"]:
        raise RequestError("output", "and `cache_dir` exclude each other; give one")
    if options["output"] and len(series) > 1:
        raise RequestError("output", "is for one series; use `cache_dir` for several")
    log(verbose=options["verbose"])
    if not build_indices(series, options):
        raise SystemExit(1)


@cli.command(cls=_Command, name="get-index")
@_SERIES
@_ROOT
@_CACHE_DIR
@_QUIET
@_VERBOSE
def get_index(series: str, **options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Print the path of the index of SERIES, built if it is not there or not fresh."""
    opening = begin(series, options)
    from dicom_series_preview.products.pictures.requests import IndexRequest  # noqa: PLC0415 - loads numpy and pyarrow

    asked = request(opening, series, IndexRequest.from_strings, {})
    log(verbose=options["verbose"])
    with Progress(quiet=options["quiet"]) as progress:
        service = service_of(opening, series, progress, must_keep=True)
        with opening.result().named.hinting():
            built = service.index(asked)
    answer(service.index_path(built))


@cli.command(cls=_Command)
@_ROOT
@click.option(
    "--alias",
    multiple=True,
    metavar="NAME=ROOT",
    help="Another root, chosen by ?root=NAME.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--allow-host",
    multiple=True,
    metavar="NAME",
    help="Another name or address that the server is called by, as behind a proxy.",
)
@click.option(
    "--token",
    envvar=TOKEN_VARIABLE,
    metavar="TOKEN",
    help=f"What callers must send: Authorization: Bearer TOKEN.  [default: ${TOKEN_VARIABLE}]",
)
@click.option("--follow-links", is_flag=True, help="Let links lead out of a root that is a folder.")
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on."
)
@_CACHE_DIR
@_VERBOSE
def serve(host: str, port: int, **options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Serve previews over HTTP, with the routes of the serverless application."""
    from dicom_series_preview.doors.python import open_api  # noqa: PLC0415 - loads numpy and pyarrow
    from dicom_series_preview.doors.server.serving import serve as run_server  # noqa: PLC0415 - loads uvicorn and Powertools

    token = _token(options["token"], os.environ)
    roots = {"default": DEFAULT_ROOT if options["root"] is None else options["root"]}
    for alias in options["alias"]:
        name, _, root = alias.partition("=")
        # A name is a part of URLs, and of the cache's paths.
        if not re.fullmatch("[a-z0-9-]+", name) or not root:
            raise RequestError("alias", f"{alias!r} is not NAME=ROOT with a name of a-z, 0-9 and -")
        if name in roots:
            raise RequestError("alias", f"{name!r} is named already")
        roots[name] = root
    log(verbose=options["verbose"])
    # What goes on for days collects its garbage, though rarely: to look through all that an index is made of
    # stops every thread for seconds.
    gc.enable()
    gc.set_threshold(20_000, 10, 100)
    settings = Settings.from_environment(
        os.environ,
        Path(options["cache_dir"]) if options["cache_dir"] else None,
        Settings(Path(), limits=replace(Limits.for_memory(SERVED_BYTES), seconds=_SERVED_S)),
    )
    api = open_api(roots, settings, follow_links=options["follow_links"])
    shown = f"[{host}]" if ":" in host else host

    def started(port: int, is_open: bool) -> None:  # noqa: FBT001 - the server calls it
        say(f"serving {', '.join(roots.values())} at http://{shown}:{port}/series/SERIES/mosaic")
        if is_open:
            say(open_warning(host))

    try:
        run_server(api, (host, port), started=started, hosts=options["allow_host"], token=token)
    except KeyboardInterrupt as interrupt:
        # The way to end a server; there is nothing to say of it.
        raise SystemExit(status_of(interrupt)) from None


def open_warning(host: str) -> str:
    """Say that others than this machine's users are served without being asked who they are."""
    return (
        f"warning: whoever reaches {host} can see every series of these roots, for there is no "
        f"authentication; --token or {TOKEN_VARIABLE} sets a token that callers must send"
    )


def _token(given: str | None, environment: Mapping[str, str]) -> str | None:
    """What callers must send."""
    if given is None:
        # A variable that is set and empty, as after a failed $(cat secret), opens no server.
        given = environment.get(TOKEN_VARIABLE)
    # RFC 6750 2.1: what fits into the header as it is.
    if given is not None and not re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", given):
        raise RequestError(
            "token", "is made of letters, digits and - . _ ~ + / alone; make one with openssl rand -hex 32"
        )
    return given


@cli.command(cls=_Command)
@click.option("--json", "as_json", is_flag=True, help="Write a JSON list instead of a table.")
def codecs(*, as_json: bool) -> None:
    """List the transfer syntaxes that can be decoded here, and what decodes them."""
    from dicom_series_preview.pixels.codecs.registry import codecs as installed  # noqa: PLC0415 - loads numpy, Pillow and codecs

    found = [asdict(codec) for codec in installed()]
    if as_json:
        answer(json.dumps(found, indent=2))
        return
    rows = [(codec["uid"], codec["name"], codec["decoder"], codec["version"]) for codec in found]
    # On a narrow terminal all gives way but the UID.
    answer_table({"Transfer syntax UID": None, "Name": 0, "Decoder": len(PROGRAM), "Version": 0}, rows)


@cli.group(name="cache")
def cache_group() -> None:
    """List, prune or empty the local cache of indices and pictures."""


@cache_group.command(cls=_Command, name="list")
@_CACHE_DIR
@click.option("--json", "as_json", is_flag=True, help="Write a JSON list instead of a table.")
def list_cache(*, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """List what is kept, the one used last first. Pictures do not tell which series they are of."""
    from dicom_series_preview.archive.cache_folder import cache_files, unnoted  # noqa: PLC0415 - loads obstore
    from dicom_series_preview.archive.index.read import origin  # noqa: PLC0415 - loads numpy and pyarrow

    settings = settings_of(options)
    found: list[dict[str, Any]] = []
    for file in sorted(cache_files(settings.cache_dir), key=lambda file: -file.used_ns):
        root = series = None
        if file.kind == "index":
            with suppress(OSError), unnoted(settings.cache_dir / file.path) as opened:
                root, series = origin(opened) or (None, None)
        used = datetime.fromtimestamp(file.used_ns / 10**9, UTC).isoformat(timespec="seconds")
        found.append(
            {
                "kind": file.kind,
                "root": root,
                "series": series,
                "bytes": file.size,
                "used": used.replace("+00:00", "Z"),
                "path": str(settings.cache_dir / file.path),
            }
        )
    if as_json:
        answer(json.dumps(found, indent=2))
    elif found:
        columns = {"Kind": None, "Used": None, "Bytes": None, "Root": 0, "Series": 0}
        answer_table(columns, [tuple(shown(entry[name.lower()]) for name in columns) for entry in found])
    size = counted(sum(entry["bytes"] for entry in found), "byte")
    say(f"{settings.cache_dir}: {counted(len(found), 'file')}, {size}; room for {settings.cache_bytes}")


@cache_group.command(cls=_Command)
@_CACHE_DIR
@click.option("--max-size", metavar="SIZE", help="Such as 500MB. [default: the cache's room]")
@click.option("--max-age", metavar="AGE", help="Since it was used: such as 90m, 12h, 30d, 8w.")
def prune(**options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Remove what was used longest ago, and what killed processes have left behind."""
    settings = settings_of(options)
    most, since = settings.cache_bytes, 0
    if options["max_size"] is not None:
        most = _quantity("max_size", options["max_size"], _SIZES, "500MB")
    if options["max_age"] is not None:
        since = time.time_ns() - _quantity("max_age", options["max_age"], _AGES_S, "30d") * 10**9
    _prune(settings.cache_dir, most, since)


@cache_group.command(cls=_Command)
@_CACHE_DIR
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def clear(*, yes: bool, **options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Remove all indices and pictures; they are made again when they are asked for."""
    folder = settings_of(options).cache_dir
    if not yes and not sys.stdin.isatty():
        raise RequestError("yes", "is needed where nobody can be asked")
    if not yes and not click.confirm(f"Remove all indices and pictures from {folder}?", err=True):
        raise SystemExit(1)
    _prune(folder, 0)


def _prune(folder: Path, most_bytes: int, since_ns: int = 0) -> None:
    """Remove files of the cache, and say what that came to."""
    from dicom_series_preview.archive import cache_folder  # noqa: PLC0415 - loads obstore

    try:
        pruned = cache_folder.prune(
            folder, cache_folder.Stays(most_bytes, most_bytes, since_ns), time.time_ns()
        )
    except BlockingIOError as error:
        raise OutputError(str(folder), "another process is making room in it; try again") from error
    except OSError as error:
        raise OutputError(str(folder), (error.strerror or "cannot be written to").lower()) from error
    gone, left = counted(pruned.removed, "file"), counted(pruned.left, "file")
    say(f"{folder}: {gone} removed, {pruned.freed} bytes; {left} left, {pruned.room} bytes")


def _quantity(option: str, text: str, units: Mapping[str, int], example: str) -> int:
    """A number and its unit, in the smallest one."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", text.strip().lower())
    if found is None or found[2] not in units:
        names = ", ".join(name for name in units if name)
        raise RequestError(option, f"is a number and one of {names}, such as {example}, not {text!r}")
    number = float(found[1]) * units[found[2]]
    if number > _MOST_QUANTITY:
        raise RequestError(option, "is larger than anything can be")
    return int(number)


@cli.command(cls=_Command)
@click.argument("folder", type=click.Path(file_okay=False))
@_VERBOSE
def sample(folder: str, **options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Write a synthetic CT series to FOLDER, to try the other commands on, and print its path."""
    from dicom_sample import write_sample  # noqa: PLC0415 - loads numpy and pydicom

    log(verbose=options["verbose"])
    with Progress("writing slices") as progress:
        path = write_sample(Path(folder), progress=progress)
    answer(str(path))


def main(arguments: Sequence[str]) -> int:
    """Run one command line.

    Returns:
        0, or 1 after an error, which has then been said in one line on stderr; after an interrupt 128 and the
        signal's number, a server's too.
    """
    verbose = any(argument == "--verbose" or argument.startswith("-v") for argument in arguments)
    try:
        cli.main(list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 1
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context else ""
        say(f"error: {' '.join(_message(error).split())}{hint}")
        return 1
    except (PreviewError, OSError) as error:
        # What click cannot print; every other failure of a file is an error of ours by now.
        told = error if isinstance(error, PreviewError) else output_error(error)
        if verbose:
            traceback.print_exc()
        say(f"error: {line_of(told)}")
        return 1
    except (_InterruptedError, click.Abort) as error:
        say("error: interrupted")
        return status_of(error.__cause__)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    return 0


def _message(error: click.ClickException) -> str:
    """What click says; of options that may have been meant only those that are alike without their dashes."""
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        from difflib import get_close_matches  # noqa: PLC0415 - click has loaded it

        bare = {name.lstrip("-"): name for name in error.possibilities}
        close = [bare[name] for name in get_close_matches(error.option_name.lstrip("-"), bare)]
        return click.NoSuchOption(error.option_name, possibilities=close).format_message()
    return error.format_message()


class _WithoutPandas:
    """Hides pandas, of which nothing is needed here.

    Where it is installed, pyarrow imports it to ask whether a list is one of its: half of a preview's time.
    """

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(f"the command line does without {name}", name=name)


def run() -> None:
    """The console script."""
    end_when_told()
    sys.meta_path.insert(0, _WithoutPandas)
    # There is next to no garbage that refers to itself; to look for it takes a tenth of a long series' time.
    gc.disable()
    # No linear algebra is done here: numpy's would start a thread for each processor, to spin a while.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    status = main(sys.argv[1:])
    for stream in filter(None, (sys.stdout, sys.stderr)):
        # That it is full or closed has been said, or there is nowhere to say it.
        with suppress(OSError):
            stream.flush()
    # All is written. To take numpy and Arrow apart, module by module, is an eighth of a preview's time.
    end_with(status)
