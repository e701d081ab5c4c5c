"""The command line; heavy imports wait until a command runs: `--help` and completion load none."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from dicom_series_preview._version import __version__
from dicom_series_preview.base.errors import PreviewError
from dicom_series_preview.doors.cli.cache import cache_group
from dicom_series_preview.doors.cli.catalogue import list_series, query, update
from dicom_series_preview.doors.cli.console import PROGRAM, line_of, output_error, say
from dicom_series_preview.doors.cli.indices import build_index, explain, get_index, qc
from dicom_series_preview.doors.cli.offline import codecs, sample
from dicom_series_preview.doors.cli.pictures import contrast_mosaic, get_image, mosaic
from dicom_series_preview.doors.cli.serve import serve
from dicom_series_preview.doors.cli.stopping import end_when_told, end_with, status_of
from dicom_series_preview.doors.cli.volumes import convert, manifest, verify, volume_report, volumes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicom_series_preview.doors.cli.serve import RunServer


# What the extra [volumes] brings.
_OF_VOLUMES = frozenset(("isal", "jinja2", "nibabel", "numcodecs", "zarr"))


class _InterruptedError(Exception):
    """An interrupt, which click would report in its own way."""


class _Program(click.Group):
    """The group of all commands."""

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


for _command in (
    mosaic,
    get_image,
    contrast_mosaic,
    build_index,
    get_index,
    update,
    list_series,
    query,
    explain,
    qc,
    convert,
    manifest,
    volumes,
    verify,
    volume_report,
    serve,
    codecs,
    cache_group,
    sample,
):
    cli.add_command(_command)


def main(arguments: Sequence[str], run_server: RunServer) -> int:
    """Run one command line.

    Args:
        arguments: The arguments.
        run_server: Runs the local server, a separate door that this one does not import.

    Returns:
        0, or 1 after an error, which was printed in one line on stderr; after an interrupt, also a server's,
        128 plus the signal's number.
    """
    verbose = any(argument == "--verbose" or argument.startswith("-v") for argument in arguments)
    try:
        cli.main(list(arguments), prog_name=PROGRAM, standalone_mode=False, obj=run_server)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 1
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context else ""
        say(f"error: {' '.join(_message(error).split())}{hint}")
        return 1
    except (PreviewError, OSError) as error:
        # Click cannot print; any other file error is already one of ours.
        told = error if isinstance(error, PreviewError) else output_error(error)
        if verbose:
            traceback.print_exc()
        say(f"error: {line_of(told)}")
        return 1
    except ModuleNotFoundError as error:
        if error.name not in _OF_VOLUMES:
            raise
        say(f"error: {error.name} is not installed; pip install '{PROGRAM}[volumes]' installs it")
        return 1
    except (_InterruptedError, click.Abort) as error:
        say("error: interrupted")
        return status_of(error.__cause__)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    return 0


def _message(error: click.ClickException) -> str:
    """Return click's message, suggesting only options that are alike without their dashes."""
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        from difflib import get_close_matches  # noqa: PLC0415 - click has loaded it

        bare = {name.lstrip("-"): name for name in error.possibilities}
        close = [bare[name] for name in get_close_matches(error.option_name.lstrip("-"), bare)]
        return click.NoSuchOption(error.option_name, possibilities=close).format_message()
    return error.format_message()


class _Spared:
    """Hides what pyarrow imports where it is installed, and does without elsewhere.

    It imports pandas to ask whether a list is one of its, which takes half of a preview's time, and the file
    systems of several clouds, which take 2 %.
    """

    NAMES = frozenset(("pandas", *(f"pyarrow._{name}" for name in ("azurefs", "gcsfs", "hdfs", "s3fs"))))

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> None:
        if name in _Spared.NAMES:
            raise ModuleNotFoundError(f"the command line does without {name}", name=name)


def run(run_server: RunServer) -> None:
    """Run the console script; see `main`."""
    end_when_told()
    sys.meta_path.insert(0, _Spared)
    # There is next to no garbage that refers to itself; to look for it takes a tenth of a long series' time.
    gc.disable()
    # No linear algebra is done here: numpy's would start a thread for each processor, to spin a while.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    status = main(sys.argv[1:], run_server)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        # That it is full or closed has been said, or there is nowhere to say it.
        with suppress(OSError):
            stream.flush()
    # All is written. To take numpy and Arrow apart, module by module, is an eighth of a preview's time.
    end_with(status)
