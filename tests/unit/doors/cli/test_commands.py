import logging
import re
import shlex
import signal

import click
import pytest

from dicom_series_preview.__main__ import main
from dicom_series_preview.base.settings import DEFAULT_ROOT
from dicom_series_preview.doors.cli import commands as cli
from dicom_series_preview.doors.cli import console, opening
from dicom_series_preview.doors.cli.cache import cache_group
from dicom_series_preview.doors.cli.serve import open_warning

PICTURES = ["mosaic", "get-image", "contrast-mosaic"]


def parsed(line: str) -> click.Context:
    """The context of a command line that is parsed and not run."""
    name, *arguments = shlex.split(line)
    command, context = cli.cli, cli.cli.make_context(name, list(arguments))
    while isinstance(command, click.Group):
        name, *arguments = arguments
        command = command.commands[name]
        context = command.make_context(name, list(arguments), parent=context)
    return context


@pytest.mark.parametrize(
    "line",
    [
        line
        for command in (*cli.cli.commands.values(), *cache_group.commands.values())
        for line in getattr(command, "examples", ())
        if not line.startswith("curl")
    ],
)
def test_examples_of_the_help_can_be_typed(line: str) -> None:
    """Every example of the help is a command line that the command takes."""
    if line.startswith("duckdb"):
        line = line.partition("$(")[2].partition(")")[0]
    line = re.sub(r" > \S+$", "", line)
    context = parsed(line)
    assert context.params


@pytest.mark.parametrize("name", PICTURES)
def test_options_of_the_door_are_not_the_requests(name: str) -> None:
    """Root, cache, report and verbosity are this door's; everything else that is given is the request's."""
    line = (
        f"p {name} S a.webp --root /r --cache-dir c --no-cache --report r.json -v --quiet --json -q 3 "
        "--stack 1 --overlays --format webp"
    )
    options = dict(parsed(line).params)
    del options["series"], options["output"]
    own = {"quality": ["3"], "stack": ["1"], "overlays": ["true"], "format": ["webp"]}
    assert opening.given(options) == own


def test_options_that_are_not_given_are_left_out() -> None:
    """The request's own defaults hold for what is not given."""
    context = parsed("p mosaic S a.webp")
    (root,) = [one for one in context.command.params if one.name == "root"]
    assert context.params["root"] is None
    assert f"[default: {DEFAULT_ROOT}]" in root.help
    options = {key: value for key, value in context.params.items() if key not in ("series", "output")}
    assert opening.given(options) == {}


def test_contrast_repeats() -> None:
    """`--contrast` collects, in order."""
    context = parsed("p contrast-mosaic S a.webp --contrast lung --contrast 1,-5 --contrast=-3/4")
    assert context.params["contrast"] == ("lung", "1,-5", "-3/4")


@pytest.mark.parametrize(
    ("incomplete", "names"),
    [("", 9), ("b", 2), ("a", 2), ("x", 0)],
)
def test_contrasts_are_completed(incomplete: str, names: int) -> None:
    """Completion offers the presets and modes that begin so."""
    context = parsed("p mosaic S a.webp")
    parameter = next(p for p in context.command.params if p.name == "contrast")
    assert len(parameter.shell_complete(context, incomplete)) == names


@pytest.mark.parametrize(
    "command",
    [*cli.cli.commands.values(), *cache_group.commands.values()],
    ids=lambda command: str(command.name),
)
def test_every_option_says_what_it_does(command: click.Command) -> None:
    """Options have a help text, save the earlier spellings, which are hidden."""
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert bool(parameter.help) != parameter.hidden, parameter.name


def test_main_returns_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    """`main` returns 0 or 1 and never leaves the process."""
    statuses = [main(arguments) for arguments in (["--version"], ["--nonsense"], [], ["mosaic", "-h"])]
    assert statuses == [0, 1, 1, 0]
    assert capsys.readouterr().err.startswith("error: ")


def test_interruption_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends with one line, and the status that a shell has for it."""

    @cli.cli.command(name="interrupted", hidden=True)
    def interrupted() -> None:
        raise KeyboardInterrupt

    try:
        assert main(["interrupted"]) == 128 + signal.SIGINT
    finally:
        del cli.cli.commands["interrupted"]
    assert capsys.readouterr().err == "error: interrupted\n"


def test_log_lines_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    """Log records are a level and a message; without -v only warnings, and set up twice they come once."""
    logger = logging.getLogger("dicom_series_preview.something")
    for verbose, expected in ((False, ["warning: w"]), (True, ["info: i", "warning: w"])):
        console.log(verbose=verbose)
        console.log(verbose=verbose)
        logger.info("i")
        logger.warning("w")
        assert capsys.readouterr().err.splitlines() == expected


def test_the_warning_of_an_open_server() -> None:
    """The warning says who can see what, and what sets a token."""
    warning = open_warning("192.168.1.7")
    assert "whoever reaches 192.168.1.7 can see" in warning
    assert "--token" in warning


def test_an_empty_token_opens_no_server(monkeypatch, capsys, tmp_path):
    """Nor does a variable that is empty, as a failed $(cat secret) leaves it."""
    monkeypatch.setenv("DICOM_SERIES_PREVIEW_TOKEN", "")
    assert main(["serve", "--root", str(tmp_path)]) == 1
    assert "token: is made of" in capsys.readouterr().err
