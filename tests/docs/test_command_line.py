"""What the command line's page says is what it takes."""

import re
import subprocess
import sys
from pathlib import Path

import click

from dicom_series_preview.doors.cli import commands as cli
from dicom_series_preview.doors.cli.cache import cache_group

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")


def commands() -> list[click.Command]:
    return [*cli.cli.commands.values(), *cache_group.commands.values()]


def options() -> set[str]:
    """Every option that is not hidden, in all its spellings."""
    return {
        spelling
        for command in commands()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
        for spelling in (*parameter.opts, *parameter.secondary_opts)
    }


def test_every_option_is_on_the_page_and_no_other() -> None:
    """The page names each option of each command, and none that there is not."""
    named = set(re.findall(r"(?<![\w-])(--?[a-z][a-z0-9-]*)", PAGE)) - {"--help"}
    assert options() - named == set()
    assert named - options() == set()


def test_every_command_is_on_the_page() -> None:
    """The page names each command, save the sample's and the codecs' list, which take nothing."""
    names = {command.name for command in commands()} - {"sample", "codecs"}
    assert not [name for name in names if name not in PAGE]


def test_prefixes_are_quoted() -> None:
    """Neither the README nor a help shows a prefix that the shell would expand; in a URL it is none."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    helps = [
        cli.cli.help or "",
        *(line for command in commands() for line in getattr(command, "examples", ())),
    ]
    for line in (*readme.splitlines(), *helps):
        assert not re.search(r"(?<!['/])\b389\*", line), line


def test_views_of_the_file_are_on_every_page() -> None:
    """`embedded:2` and `embedded:NAME` are told where `embedded` is."""
    http = (Path(__file__).parents[2] / "docs" / "http-api.md").read_text(encoding="utf-8")
    (option,) = [one for one in cli.cli.commands["mosaic"].params if one.name == "contrast"]
    for text in (PAGE, http, option.help):  # type: ignore[attr-defined]
        assert {"embedded:2", "embedded:NAME"} <= set(re.findall(r"embedded:\w+", text))


def test_the_tables_of_options_are_those_of_the_product() -> None:
    """docs/command-line.md and docs/http-api.md list each option as the table of options has it."""
    check = [sys.executable, "tests/docs/option_tables.py", "--check"]
    done = subprocess.run(check, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
