"""Lines that were hard to type, or badly answered, and what comes of them."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import synthetic
from commandline import SCRIPT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="what is typed is for a POSIX shell")
HANG_S = 120
SUMMARY = r"{name}: \d+ x \d+, 3 of 3 slices, index \w+; .*"
INDEX = r"{source} +{name}: 3 slices -> /.*{name}_index\.parquet"
FILE = synthetic.series("ct-1", 3, others=False).file_names[0]
NOWHERE = "AWS_ENDPOINT_URL=http://127.0.0.1:1 AWS_EC2_METADATA_DISABLED=true"


@dataclass(frozen=True)
class Now:
    """What comes of a line.

    Attributes:
        stderr: A pattern for each line on standard error.
        status: The exit status.
        stdout: A pattern for all of standard output.
        any_order: Lines of standard error come as they are done.
    """

    stderr: tuple[str, ...] = ()
    status: int = 0
    stdout: str = ""
    any_order: bool = False


def picture(name: str) -> Now:
    return Now((SUMMARY.format(name=re.escape(name)),))


def refused(line: str) -> Now:
    return Now((f"error: {line}",), 1)


GONE = "the working folder is gone; change to another one"
FULL = refused("standard output: no space left on device")
# By its name, what is typed and what comes of it.
TABLE: dict[str, tuple[str, Now]] = {
    # --- paths
    "folder-as-TAB-leaves-it": ("mosaic ct-1/ a.webp", picture("a.webp")),
    "relative-folder": ("mosaic ./ct-1 a.webp", picture("a.webp")),
    "this-folder": ("cd ct-1; @mosaic . ../a.webp", picture("../a.webp")),
    "one-file": (f"mosaic ct-1/{FILE} a.webp", Now(("a.webp: .*, 1 of 1 slice, .*",))),
    "one-file-by-its-whole-path": (
        f'mosaic "$PWD/ct-1/{FILE}" a.webp',
        Now(("a.webp: .*, 1 of 1 slice, .*",)),
    ),
    "relative-prefix": ("mosaic './ct-*' a.webp", Now((r"a\.webp: ct-1 \(the first of 3\), .*",))),
    "folder-that-is-here": (
        f"{NOWHERE} @mosaic ct-1 a.webp",
        refused("s3://idc-open-data/ct-1: no connection; .*; a folder ct-1 lies here: ./ct-1 names it"),
    ),
    # --- names that are no text, links, and folders that are gone
    "folder-that-is-no-utf8": (r"mosaic $'b\xff' a.webp --root . --report r.json", picture("a.webp")),
    "picture-that-is-no-utf8": (r"mosaic ct-1/ $'o\xff.webp'", picture(r"o\xff.webp")),
    "cache-that-is-no-utf8": (r"test -f $(@get-index ./ct-1 --cache-dir $'c\xff')", Now()),
    "looped-link": ("ln -s loop loop; @mosaic 'ct-*' a.webp --root .", Now((r"a\.webp: ct-1 .*",))),
    "link-to-no-name": (
        "ln -s $(printf 'a%.0s' {1..300}) long; @mosaic 'ct-*' a.webp --root .",
        Now((r"a\.webp: ct-1 .*",)),
    ),
    "link-to-no-name-in-a-series": (
        "ln -s $(printf 'a%.0s' {1..300}) ct-1/long; @mosaic ct-1 a.webp --root .",
        Now((r"a\.webp: .*, 3 of 3 slices, 1 object skipped, .*",)),
    ),
    "working-folder-gone": ("mkdir g; cd g; rmdir ../g; @mosaic s a.webp --root x", refused(f"x: {GONE}")),
    "working-folder-gone-cache": (
        "R=$PWD; mkdir g; cd g; rmdir ../g; @mosaic ct-1 a.webp --root $R --cache-dir c",
        refused(f"c: {GONE}"),
    ),
    "working-folder-gone-output": (
        "R=$PWD; mkdir g; cd g; rmdir ../g; @build-index ct-1 -o . --root $R",
        refused(rf"\.: {GONE}"),
    ),
    # --- mistakes of use
    "option-of-another-command": (
        "mosaic ct-1/ a.webp --position 0.5",
        refused(r"No such option:? '?--position'?\.? \(see dicom-series-preview mosaic --help\)"),
    ),
    "option-with-a-slip": (
        "mosaic ct-1/ a.webp --qualty 5",
        refused(r"No such option:? '?--qualty'?\.? Did you mean '?--quality'?\? \(see .* mosaic --help\)"),
    ),
    "option-without-its-value": (
        "mosaic ct-1/ a.webp -q",
        refused(r"Option '-q' requires an argument\. \(see dicom-series-preview mosaic --help\)"),
    ),
    # --- full and unwritable places
    "full-help": ("--help >/dev/full", FULL),
    "full-version": ("--version >/dev/full", FULL),
    "full-path": ("get-index ./ct-1 >/dev/full", FULL),
    "closed-version": ("--version >&-", Now()),
    "full-picture": ("mosaic ct-1/ - >/dev/full", FULL),
    "full-sample": (
        "(ulimit -f 100; @sample full)",
        refused(r"full/.*: cannot write the sample: File too large"),
    ),
    "cache-that-cannot-be-made": (
        "touch file; @mosaic ct-1/ a.webp --cache-dir file/c",
        Now(("warning: the cache cannot be used, and nothing is kept: .*", SUMMARY.format(name="a.webp"))),
    ),
    "cache-that-is-full": (
        "(ulimit -f 1; @get-image ct-1/ a.webp --position 0 --image-width 8 -q 0)",
        Now(("warning: the cache cannot be used, and nothing is kept: .*", "a.webp: .*")),
    ),
    "damaged-index": (
        "I=$(@get-index ./ct-1); echo damaged > $I; @mosaic ./ct-1 a.webp",
        Now(
            (
                r"warning: the index kept of \./ct-1 cannot be used, and another one is built: .*",
                SUMMARY.format(name="a.webp"),
            )
        ),
    ),
    # --- variables
    "endpoint-without-scheme": (
        "AWS_ENDPOINT_URL=localhost:9000 @mosaic s a.webp --root s3://bucket",
        refused("AWS_ENDPOINT_URL: 'localhost:9000' is no URL; give one such as http://localhost:9000"),
    ),
    "region-with-a-blank": (
        "AWS_REGION='us east' AWS_EC2_METADATA_DISABLED=true @mosaic s a.webp --root s3://idc-open-data-two",
        refused("AWS_REGION: 'us east' is no region; give one such as us-east-1"),
    ),
    "key-with-a-line-break": (
        rf"{NOWHERE} AWS_ACCESS_KEY_ID=$'a\nb' AWS_SECRET_ACCESS_KEY=c @mosaic s a.webp --root s3://bucket",
        refused("AWS_ACCESS_KEY_ID: has a line break or another character that no key has"),
    ),
    "certificates-that-are-none": (
        f"touch ca.pem; {NOWHERE} AWS_CA_BUNDLE=ca.pem @mosaic s a.webp --root s3://bucket",
        refused("AWS_CA_BUNDLE: ca.pem holds no certificate in PEM form"),
    ),
    "proxy-that-is-none": (
        "HTTPS_PROXY=::: AWS_EC2_METADATA_DISABLED=true @mosaic s a.webp --root https://planted-host",
        refused("HTTPS_PROXY: holds no proxy's address; give one such as http://proxy.example.org:3128"),
    ),
    # --- what is written, and where
    "picture-to-standard-output": ("mosaic ct-1/ - --quiet | head -c 4", Now(stdout="RIFF")),
    "picture-of-a-format": ("mosaic ct-1/ - --format png --quiet | head -c 4 | tail -c 3", Now(stdout="PNG")),
    "lossless-picture": ("mosaic ct-1/ a.png", picture("a.png")),
    "quality-of-a-lossless-picture": (
        "mosaic ct-1/ a.png -q 80",
        refused("--quality: PNG loses nothing and has none; leave it out"),
    ),
    "format-that-contradicts": (
        "mosaic ct-1/ a.png --format webp",
        refused("--format: webp is another one than that of output, a.png"),
    ),
    "report-to-standard-output": (
        "mosaic ct-1/ a.webp --report - --quiet",
        Now(stdout=r'\{\n  "report_schema": .*\n\}\n'),
    ),
    "both-to-standard-output": (
        "mosaic ct-1/ - --report -",
        refused(
            r"output: one alone goes to standard output: the picture, the --report or the summary \(--json\)"
        ),
    ),
    "summary-as-json": (
        "mosaic ct-1/ a.webp --json",
        Now(stdout=r'\{\n  "output": "a.webp",\n  "series": "ct-1",.*\n\}\n'),
    ),
    "quiet": ("mosaic ct-1/ a.webp --quiet", Now()),
    "verbose": (
        "mosaic ct-1/ a.webp -v",
        Now(
            (
                "info: ct-1/ lies in file:///.*; indices are kept in file:///.*",
                "info: of 3 objects that are listed the headers of 3 are read",
                "info: the index is built, 3 headers were read: 1 LIST and 3 GET, .*; 3 of its 3 slices .*",
                "info: 1 folder matched; the first is ct-1",
                "info: the frames are fetched and decoded: .*",
                r"info: the picture is encoded: WEBP, \d+ bytes",
                SUMMARY.format(name="a.webp"),
            )
        ),
    ),
    # --- parameters as they are typed
    "parameter-as-it-is-typed": (
        "mosaic ct-1/ a.webp --image-width 9000",
        refused(
            ".*--image-width: the picture would be .*; lower --image-width, --tile-width or --tile-height.*"
        ),
    ),
    # --- what is printed is typed on
    "index-in-a-variable": ('INDEX=$(@get-index ct-1 --root . --cache-dir "a b") && test -f "$INDEX"', Now()),
    "sample-that-is-shown": (
        '@mosaic "$(@sample "demo folder")" a.webp',
        Now((r"a\.webp: .*", ".* 2 stacks: .*")),
    ),
    # --- many indices
    "all-that-a-prefix-matches": (
        "build-index 'ct-*' --root .",
        Now(tuple(INDEX.format(source="built", name=f"ct-{n}") for n in (1, 2, 3)), any_order=True),
    ),
    "one-that-fails": (
        "build-index ct-1 nothing ct-2 --root .",
        Now(
            (
                INDEX.format(source="built", name="ct-1"),
                "failed   nothing: nothing in file:///.*: no such series, or nothing in it",
                INDEX.format(source="built", name="ct-2"),
            ),
            1,
            any_order=True,
        ),
    ),
    "indices-as-json": ("build-index ./ct-1 --json", Now(stdout=r'\[\n  \{\n    "series": "ct-1",.*\]\n')),
    "prefix-into-one-folder": (
        "build-index 'ct-*' --root . -o out",
        refused("output: is for one series, and 3 are meant; use --cache-dir"),
    ),
    # --- the server
    "root-that-is-not-there": (
        "serve --root nowhere --port 0",
        refused("/.*/nowhere: there is no such folder"),
    ),
}


@pytest.fixture
def here(clean_environment: Path) -> Path:
    """A folder with three series, and one of a name that is no UTF-8."""
    for number in (1, 2, 3):
        synthetic.series(f"ct-{number}", 3, others=False).write(clean_environment)
    if sys.platform != "darwin":
        shutil.copytree("ct-1", os.fsdecode(b"b\xff"))
    return clean_environment


def typed(line: str) -> subprocess.CompletedProcess[str]:
    """What comes of a line; `@` stands for the program, which a line begins with that has none."""
    program = f"{SCRIPT} "
    text = line.replace("@", program) if "@" in line else program + line
    environment = {
        **os.environ,
        "DICOM_SERIES_PREVIEW_RETRIES": "0",
        "DICOM_SERIES_PREVIEW_RETRY_SECONDS": "0",
    }
    return subprocess.run(
        ["bash", "-c", text],
        capture_output=True,
        check=False,
        text=True,
        errors="backslashreplace",
        timeout=HANG_S,
        env=environment,
    )


@pytest.mark.parametrize(("line", "now"), TABLE.values(), ids=TABLE)
def test_papercut(line: str, now: Now, here: Path) -> None:
    """A line that was hard to type, or badly answered, comes to what it says, without a trace."""
    if sys.platform == "darwin" and r"\xff" in line:
        pytest.skip("names are UTF-8 there")
    if "/dev/full" in line and not Path("/dev/full").exists():
        pytest.skip("there is no device that is always full")
    done = typed(line)
    assert (done.returncode, bool(here)) == (now.status, True), done.stderr
    assert re.fullmatch(now.stdout, done.stdout, re.DOTALL), done.stdout
    lines = sorted(done.stderr.splitlines()) if now.any_order else done.stderr.splitlines()
    patterns = sorted(now.stderr) if now.any_order else now.stderr
    assert len(lines) == len(patterns), done.stderr
    for said, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern, said), said


def test_what_is_printed_is_json(here: Path) -> None:
    """Reports and summaries on standard output are JSON, and tell what the lines do."""
    assert here
    summary = json.loads(typed("mosaic ct-1/ a.webp --json").stdout)
    assert (summary["series"], summary["slices"], summary["shown"], summary["skipped"]) == ("ct-1", 3, 3, 0)
    report = json.loads(typed("mosaic ct-1/ a.webp --report -").stdout)
    assert [tile["row"] for tile in report["tiles"]] == [0, 0, 0]
    indices = json.loads(typed("build-index 'ct-*' 'nothing*' --root . --json").stdout)
    assert [(one["series"], one["status"]) for one in indices] == [
        ("nothing*", "failed"),
        ("ct-1", "cache" if report["root"].endswith("here") else "built"),
        ("ct-2", "built"),
        ("ct-3", "built"),
    ]
    assert all(Path(one["path"]).is_file() for one in indices if one["status"] != "failed")


@pytest.mark.parametrize(
    "line", ["get-index ct-1/", "mosaic ct-1/ -", "mosaic ct-1/ a.webp --json", "--help"]
)
def test_a_reader_that_has_had_enough(line: str, here: Path) -> None:
    """A pipe whose reader has left, as `head` does, ends the command without a word."""
    assert here
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [SCRIPT, *line.split(), *(["--quiet"] if "ct-1" in line else [])],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=HANG_S,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_pictures_are_whole_on_standard_output(here: Path) -> None:
    """What goes to standard output is the file that would be written, byte for byte."""
    for name in ("webp", "jpeg", "png"):
        written = subprocess.run([SCRIPT, "mosaic", "ct-1/", f"a.{name}"], capture_output=True, check=True)
        printed = subprocess.run(
            [SCRIPT, "mosaic", "ct-1/", "-", "--format", name], capture_output=True, check=True
        )
        assert written.stdout == b""
        assert printed.stdout == (here / f"a.{name}").read_bytes()
