"""Click commands and options, built from a table of options or shared by several commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from dicom_series_preview.base.settings import CACHE_DIR_VARIABLE, DEFAULT_ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dicom_series_preview.products.pictures.options import Option

F = TypeVar("F", bound="Callable[..., Any]")


class Command(click.Command):
    """A command whose help ends with examples, and whose usage errors point to it.

    Args:
        *args: See click.
        examples: Command lines, exactly as typed.
        **kwargs: See click.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:  # noqa: ANN401 - click's
        super().__init__(*args, **kwargs)
        self.examples = examples

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; name the command in every usage error, unlike click."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples exactly as typed."""
        with formatter.section("Examples"):
            for line in self.examples:
                formatter.write(f"  {line}\n")
        super().format_epilog(ctx, formatter)


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Combine several options into one decorator, in the order of `--help`."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def options_of(table: Sequence[Option]) -> Callable[[F], F]:
    """Return a decorator that gives a command the options of a table.

    Their values stay texts, so that the request reads them and reports all errors at once.
    """
    return together(*(_option(option) for option in table))


def _option(option: Option) -> Callable[[F], F]:
    if option.deprecated:
        return click.option(option.flag, option.name, hidden=True)
    note = "required" if option.required else option.default_text and f"default: {option.default_text}"
    told = f"{option.help}  [{note}]" if note else option.help
    if option.type is bool:
        return click.option(
            option.flag, option.name, is_flag=True, flag_value="true", default=None, help=told
        )
    spellings = (option.short, option.flag) if option.short else (option.flag,)
    return click.option(
        *spellings,
        option.name,
        metavar=option.metavar,
        multiple=option.repeated or option.only_once,
        shell_complete=_completing(option.suggestions),
        help=told,
    )


def _completing(
    words: Sequence[str],
) -> Callable[[click.Context, click.Parameter, str], list[str]] | None:
    """Return the function that completes an option's value; None without choices."""
    if not words:
        return None
    return lambda _ctx, _param, incomplete: [word for word in words if word.startswith(incomplete)]


def complete_folder(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete folders."""
    return [CompletionItem(incomplete, type="dir")]


class SeriesType(click.types.StringParamType):
    """A series name, which can be a path."""

    name = "series"

    def shell_complete(
        self, _ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Let the shell complete folders and files."""
        return [CompletionItem(incomplete, type="file")]


SERIES = click.argument("series", type=SeriesType())
ROOT = click.option(
    "--root",
    metavar="ROOT",
    shell_complete=complete_folder,
    help=f"s3://, http(s)://, file:// or a folder.  [default: {DEFAULT_ROOT}]",
)
CACHE_DIR = click.option(
    "--cache-dir",
    metavar="DIR",
    shell_complete=complete_folder,
    help=f"Where indices are kept. [default: ${CACHE_DIR_VARIABLE}, else the user's cache]",
)
NO_CACHE = click.option("--no-cache", is_flag=True, help="Keep no index and use none.")
VERBOSE = click.option("-v", "--verbose", is_flag=True, help="Say what is done; show the trace of an error.")
QUIET = click.option("--quiet", is_flag=True, help="Say nothing but warnings and errors.")
JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print what came of it as JSON to standard output."
)
