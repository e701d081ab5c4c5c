"""What a terminal shows: bars, colours, completion; and what Ctrl-C does there."""

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

import servers
import synthetic
from commandline import SCRIPT

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals", allow_module_level=True)

import fcntl
import pty
import struct
import termios
from collections.abc import Iterator

HANG_S = 120
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LISTED = ["SeriesInstanceUID", "Modality", "StudyDate", "SeriesDescription", "Slices", "Dimensions"]
_LISTED.append("Series")
PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")


class Terminal:
    """A terminal, and what a program has shown on it.

    Args:
        ours: Our end of the pseudo-terminal.
        process: The program.
    """

    def __init__(self, ours: int, process: subprocess.Popen[bytes]) -> None:
        self._ours = ours
        self.process = process
        self.shown = ""

    def type(self, text: str) -> None:
        """Type a text."""
        os.write(self._ours, text.encode())

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until what is shown matches."""
        while not (found := re.search(pattern, self.shown)):
            assert self._read(), f"{pattern!r} is not in {self.shown!r}"
        return found

    def end(self) -> int:
        """Read to the end, and give the exit status."""
        while self._read():
            pass
        return self.process.wait(HANG_S)

    def _read(self) -> bool:
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # Linux, when the other end is closed
            data = b""
        self.shown += data.decode(errors="replace")
        return bool(data)

    @property
    def lines(self) -> list[str]:
        """What was shown, line by line, without colours and moves of the cursor."""
        return [ANSI.sub("", line) for line in re.split(r"[\r\n]+", self.shown)]


@contextmanager
def terminal(*arguments: object, columns: int = 100, **environment: str) -> Iterator[Terminal]:
    """Starts a program as the one that a terminal controls."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        list(map(str, arguments)),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "", **environment},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no thread of it takes a lock
    )
    os.close(theirs)
    # A program that hangs is killed, which ends its terminal and so the test.
    watch = threading.Timer(HANG_S, process.kill)
    watch.start()
    try:
        yield Terminal(ours, process)
    finally:
        watch.cancel()
        process.kill()
        process.wait()
        os.close(ours)


@contextmanager
def silent_server() -> Iterator[tuple[str, threading.Event]]:
    """A web server that is asked and does not answer; the event tells that it was asked."""
    asked, over = threading.Event(), threading.Event()

    def answer(_asked: servers.Asked) -> servers.Answer:
        asked.set()
        over.wait(HANG_S)
        return servers.Answer(404)

    with servers.ScriptedServer(answer) as server:
        try:
            yield server.url, asked
        finally:
            over.set()


@pytest.fixture
def here(clean_environment: Path) -> Path:
    """A folder with eight small series."""
    for number in range(1, 9):
        synthetic.series(f"ct-{number}", 3, others=False).write(clean_environment)
    return clean_environment


@pytest.mark.parametrize("columns", [40, 80, 140])
def test_a_list_cuts_no_number_date_or_heading(here: Path, columns: int) -> None:
    """A list fits the terminal: columns on the right are left out, and a line says how many."""
    subprocess.run([SCRIPT, "update", "--root", here, "--quiet"], check=True)
    with terminal(SCRIPT, "list", columns=columns) as shown:
        assert shown.end() == 0
    heads, _, *rows = (line.rstrip() for line in shown.lines if line)
    names = [name.strip() for name in heads.split("┃")]
    hidden = len(_LISTED) - len(names)
    assert names == _LISTED[: len(names)]
    assert bool(hidden) == (columns < 140)
    if hidden:
        are = "columns are hidden; --columns chooses, --json shows all"
        assert rows.pop() == f"{hidden} {are}"
    assert len(rows) == 8
    for row in rows:
        assert len(row) <= columns
        cells = dict(zip(names, (cell.strip() for cell in row.split("│")), strict=True))
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", cells.get("StudyDate", "2026-01-01"))
        assert cells.get("Slices", "3") == "3"


def test_ctrl_c_ends_a_loop_of_the_shell() -> None:
    """Ctrl-C ends the command by SIGINT, after one line, so that the shell's loop around it ends too."""
    with silent_server() as (url, asked):
        command = f"{SCRIPT} mosaic s a.webp --root {url}"
        loop = f"for i in 1 2 3; do echo round $i; {command}; done; echo after"
        with terminal("bash", "-c", loop) as shell:
            assert asked.wait(HANG_S)
            shell.type("\x03")
            status = shell.end()
    assert status == -signal.SIGINT
    assert "round 1" in shell.shown
    assert "round 2" not in shell.shown
    assert "after" not in shell.shown
    assert [line.removeprefix("^C") for line in shell.lines].count("error: interrupted") == 1


INTERRUPTED_AT = """
import os, signal, sys
from importlib.metadata import entry_points

class Interrupts:
    @staticmethod
    def find_spec(name, _path=None, _target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

(script,) = entry_points(group="console_scripts", name="dicom-series-preview")
sys.meta_path.insert(0, Interrupts)
sys.argv[1:] = ["mosaic", {series!r}, "a.webp", "--labels"]
script.load()()
"""


@pytest.mark.parametrize("module", ["click", "ctypes", "obstore", "numpy", "pyarrow", "PIL.ImageFont"])
def test_ctrl_c_while_the_program_is_loaded(module: str, here: Path) -> None:
    """Ctrl-C ends the command by SIGINT, after one line, whatever is just being loaded."""
    series = "s3://bucket/ct-1" if module == "obstore" else "./ct-1"
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT.format(module=module, series=series)],
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_S,
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "error: interrupted\n")
    assert not (here / "a.webp").exists()


def test_ctrl_c_leaves_nothing_and_shows_the_cursor(here: Path) -> None:
    """Ctrl-C while several series are indexed leaves no file of one, and a terminal as it was."""
    with silent_server() as (url, asked):
        command = (SCRIPT, "build-index", "ct-1", "ct-2", "--root", url, "--cache-dir", here / "cache")
        with terminal(*command) as shown:
            assert asked.wait(HANG_S)
            shown.type("\x03")
            assert shown.end() == -signal.SIGINT
    assert not [path for path in (here / "cache").rglob("*") if path.is_file()]
    hidden, visible = shown.shown.rfind("\x1b[?25l"), shown.shown.rfind("\x1b[?25h")
    assert hidden <= visible


@pytest.mark.parametrize("columns", [60, 100])
def test_bars_name_the_series_and_fit_the_window(columns: int, here: Path) -> None:
    """Each series that is indexed has a bar with its name and number; none is wider than the window."""
    command = (SCRIPT, "build-index", "ct-*", "--root", here)
    with terminal(*command, columns=columns) as shown:
        assert shown.end() == 0
    bars = [line for line in shown.lines if "━" in line or "╸" in line]
    assert bars
    assert max(map(len, bars)) <= columns
    for number in range(1, 9):
        assert f"ct-{number} ({number} of 8)" in shown.shown
        assert sum(line.startswith(f"built    ct-{number}: 3 slices -> ") for line in shown.lines) == 1


def test_a_bar_is_no_part_of_what_is_printed(here: Path) -> None:
    """While a bar is on the terminal, standard output is the path and nothing else."""
    with terminal("bash", "-c", f"{SCRIPT} get-index ./ct-1 > printed") as shown:
        assert shown.end() == 0
    assert "reading headers" in shown.shown
    assert Path((here / "printed").read_text(encoding="utf-8").removesuffix("\n")).is_file()


def test_long_names_give_way(clean_environment: Path) -> None:
    """In a narrow window a long path keeps its end, the series, and how far the work is stays to be seen."""
    name = "a-series-of-a-name-that-is-longer-than-most-windows-are-wide-1234567890"
    synthetic.series(name, 3, others=False).write(clean_environment)
    with terminal(SCRIPT, "build-index", f"./{name}", columns=60) as shown:
        assert shown.end() == 0
    bars = [line for line in shown.lines if "━" in line]
    assert bars
    assert max(map(len, bars)) <= 60
    assert any("3/3" in line or "0/3" in line for line in bars)
    assert any(re.match("….*1234567890 ", line) for line in bars)


def test_quiet_shows_no_bar(here: Path) -> None:
    """With --quiet a terminal shows neither bar nor lines."""
    with terminal(SCRIPT, "build-index", "ct-1", "--root", here, "--quiet") as shown:
        assert shown.end() == 0
    assert shown.shown == ""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, "\x1b[31merror\x1b[0m: "), ({"NO_COLOR": "1"}, "error: ")],
    ids=["colour", "NO_COLOR"],
)
def test_errors_have_a_colour(environment: dict[str, str], expected: str) -> None:
    """A terminal shows what went wrong in red, unless NO_COLOR is set."""
    with terminal(SCRIPT, "mosaic", "", "a.webp", **environment) as shown:
        assert shown.end() == 1
    assert shown.shown.startswith(expected)


def test_without_a_terminal_lines_are_plain(here: Path) -> None:
    """Elsewhere there are whole lines, without colours and bars."""
    done = subprocess.run(
        [SCRIPT, "build-index", "ct-1", "nothing", "--root", str(here)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 2
    assert not re.search(r"[\r\x1b]", done.stderr)


def test_a_terminal_gets_no_picture(here: Path) -> None:
    """OUTPUT - is refused where standard output is a terminal, before anything is read."""
    with terminal(SCRIPT, "mosaic", "ct-1", "-", "--root", here) as shown:
        assert shown.end() == 1
    assert shown.lines[0] == (
        "error: output: a terminal shows no picture; redirect standard output, or name a file"
    )


def test_tab_completes_paths(here: Path) -> None:
    """After the page's line for bash, TAB completes a series' folder, and what it leaves is taken."""
    synthetic.series("only-one", 3, others=False).write(here)
    (line,) = re.findall(
        r'^(eval "\$\(_DICOM_SERIES_PREVIEW_COMPLETE=bash_source [^#\n]*?\)")', PAGE, re.MULTILINE
    )
    path = f"{Path(SCRIPT).parent}:{os.environ['PATH']}"
    with terminal("bash", "--norc", "--noprofile", "-i", columns=200, PATH=path, PS1="ready> ") as shell:
        shell.wait_for("ready> ")
        shell.type(f"{line}; echo set''up\n")
        shell.wait_for("setup")
        shell.type("dicom-series-preview mosaic onl\t")
        shell.wait_for("only-one/")
        shell.type(" a.webp; echo sta''tus $?\n")
        assert shell.wait_for(r"status (\d+)")[1] == "0"
        shell.type("dicom-series-preview mosaic ct-1/ b.webp --cache-dir onl\t")
        shell.wait_for("--cache-dir only-one/")
        shell.type("x --contrast l\t")
        shell.wait_for(r"--contrast l(ung|iver)?")
        shell.type("\x15exit\n")
        shell.end()
    assert (here / "a.webp").read_bytes()[8:12] == b"WEBP"
