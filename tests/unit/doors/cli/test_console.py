import os
import sys

import pytest

from dicom_series_preview.base.errors import CombinedRequestError, NoImageError, RequestError
from dicom_series_preview.doors.cli.console import say, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Schädel 1", "Schädel 1"),
        ("a\x1b[2Jb\nc", r"a\x1b[2Jb\nc"),
        (
            os.fsdecode(b"a\xff") if sys.platform != "win32" else "a",
            r"a\xff" if sys.platform != "win32" else "a",
        ),
        ("a\ud800b", r"a\ud800b"),
    ],
)
def test_what_would_control_a_terminal_is_escaped(
    text: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line that is said is one line of text, whatever a file's name holds."""
    assert shown(text) == expected
    say(f"warning: {text}")
    assert capsys.readouterr().err == f"warning: {expected}\n"


def test_each_door_spells_parameters_its_way() -> None:
    """The command line has --image-width, Python and HTTP image_width; arguments and variables are bare."""
    error = RequestError("image_width", "too wide; lower `image_width` or `tile_width`")
    assert str(error) == "image_width: too wide; lower image_width or tile_width"
    assert error.problem == "too wide; lower image_width or tile_width"
    assert error.at_command_line == "--image-width: too wide; lower --image-width or --tile-width"
    other = RequestError("output", "has no extension")
    assert other.at_command_line == "output: has no extension"
    assert RequestError("AWS_REGION", "is none").at_command_line == "AWS_REGION: is none"
    both = CombinedRequestError((error, other))
    assert both.at_command_line == f"{error.at_command_line}; {other.at_command_line}"
    assert str(both) == f"{error}; {other}"
    nothing = NoImageError("S", "s3://b", "a label is all it has; `stack` chooses it")
    assert nothing.problem == "a label is all it has; stack chooses it"
    assert nothing.at_command_line == "S in s3://b: a label is all it has; --stack chooses it"
