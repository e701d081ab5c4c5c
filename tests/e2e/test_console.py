"""What the program says where: help, streams, traces, status, imports, and never anything of a patient."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import make_dicom
import planted
import servers
import synthetic
from commandline import SCRIPT
from dicom_series_preview import __version__

if TYPE_CHECKING:
    from commandline import Run

SERIES = synthetic.SERIES
COMMANDS = ["mosaic", "get-image", "contrast-mosaic", "build-index", "get-index", "sample"]
HEAVY = {
    "numpy",
    "pydicom",
    "pyarrow",
    "PIL",
    "obstore",
    "boto3",
    "botocore",
    "rich",
    "imagecodecs",
    "urllib3",
}


def console(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the installed program."""
    return subprocess.run(
        [script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


# --- help, version, completion


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_shows_examples(name: str, option: str, succeed: Run) -> None:
    """The help of every command goes to standard output and ends with examples of that command."""
    outcome = succeed(name, option)
    assert outcome.stderr == ""
    _, _, examples = outcome.stdout.partition("\nExamples:\n")
    lines = examples.strip().splitlines()
    assert lines
    assert all(f"dicom-series-preview {name} " in line for line in lines)


def test_help_of_the_program_lists_the_commands(succeed: Run) -> None:
    """`--help` names every command of the manual page, the sample, the server, and the list of codecs."""
    text = succeed("--help").stdout
    assert all(f"\n  {name} " in text for name in (*COMMANDS, "codecs", "serve"))


def test_version(succeed: Run) -> None:
    """`--version` prints the program's name and version."""
    assert succeed("--version").stdout == f"dicom-series-preview {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell: str) -> None:
    """The program emits a completion script for each shell."""
    done = console(SCRIPT, _DICOM_SERIES_PREVIEW_COMPLETE=f"{shell}_source")
    assert done.returncode == 0
    assert "_DICOM_SERIES_PREVIEW_COMPLETE" in done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["mosaic", "--help"], ["nonsense"]])
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    """Help, version and usage errors load none of the libraries that take long."""
    code = (
        "import sys; from dicom_series_preview.__main__ import main; "
        f"main({arguments!r}); print(*{{name.partition('.')[0] for name in sys.modules}}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stderr.splitlines()[-1].split())


def nowhere(code: str) -> subprocess.CompletedProcess[str]:
    """Run Python where S3 does not answer, and nothing is tried again."""
    environment = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "DICOM_SERIES_PREVIEW_RETRIES": "0"}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["mosaic", SERIES, "a.webp"],
        ["get-image", SERIES, "a.webp", "--position", "0.5"],
        ["contrast-mosaic", SERIES, "a.webp", "--position", "0.5", "--contrast", "lung"],
        ["get-index", SERIES],
    ],
)
def test_listing_is_asked_for_before_the_rest_is_loaded(arguments: list[str]) -> None:
    """The first request is on its way while the libraries that pictures take are loaded."""
    code = (
        "import sys; from dicom_series_preview.__main__ import main; "
        "from dicom_series_preview.sources.storage.s3 import S3Storage as storage; "
        "storage.list_ahead = lambda _, folder, most: print(folder, *sys.modules); "
        f"main({[*arguments, '--root', 's3://bucket', '--cache-dir', 'cache']!r})"
    )
    done = nowhere(code)
    folder, *modules = done.stdout.split()
    assert folder == SERIES
    assert not (HEAVY - {"obstore"}) & set(modules)
    assert re.fullmatch(r"error: s3://bucket/[^\n]+; gave up after 1 try\n", done.stderr)


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("s3://bucket/one", "one\n"),
        ("s3://bucket/two", "two\n"),
        ("s3://bucket/on*", ""),
        ("s3://idc-open-data/one", ""),
        ("s3://idc-open-data/two", "two\n"),
    ],
)
def test_listing_is_not_asked_for_where_another_request_comes_first(name: str, listed: str) -> None:
    """Nothing is listed ahead of a prefix's folders, or of objects that never change and have an index."""
    Path("cache/indices").mkdir(parents=True)
    Path("cache/indices/one_index.parquet").write_bytes(b"")
    code = (
        "from dicom_series_preview.__main__ import main; "
        "from dicom_series_preview.sources.storage.s3 import S3Storage as storage; "
        "storage.list_ahead = lambda _, folder, most: print(folder); "
        f"main({['get-index', name, '--cache-dir', 'cache']!r})"
    )
    done = nowhere(code)
    assert done.stdout == listed
    assert re.search(r"^error: [^\n]+\n\Z", done.stderr, re.MULTILINE)


# Of a kept index and a local series' uncompressed pixels, what a picture does without: other codecs, storages
# and doors, what asks the dictionary or parses a header, sorts slices or writes to the cache, and what
# PyArrow would bring along.
NEEDLESS = (HEAVY - {"numpy", "pyarrow", "PIL"}) | {
    "aws_lambda_powertools",
    "pandas",
    "pyarrow.compute",
    "pyarrow.dataset",
    "requests",
    "uvicorn",
    *(
        f"dicom_series_preview.{name}"
        for name in (
            *("doors.aws", "web", "doors.server", "doors.python", "products.batches"),
            *("sources.storage.http", "sources.storage.pages", "sources.storage.s3"),
            *("sources.headers.scan", "sources.headers.walk", "sources.headers.overlay_data"),
            *("sources.headers.convert", "sources.headers.dictionary", "sources.headers.header"),
            *("base.arrangement", "archive.siemens", "archive.slide_tiles", "archive.pruning"),
            *("archive.gather", "archive.index.collect", "archive.index.element_columns"),
            *("archive.index.build", "archive.index.restore", "archive.index.rows", "archive.index.sorting"),
            *("pixels.whole_object", "pixels.codecs.encapsulated", "pixels.codecs.jpeg_header"),
            *("pixels.codecs.jpeg2000_header", "pixels.codecs.rle"),
        )
    ),
}
# Of our own that such a picture of a local series loads: 131, and some to spare for a module that is split.
MOST_MODULES = 136


@pytest.mark.parametrize(
    "arguments",
    [
        ["get-index", SERIES],
        ["get-image", SERIES, "a.webp", "--position", "0.5"],
        ["mosaic", SERIES, "a.webp"],
    ],
)
def test_a_kept_index_is_shown_without_what_builds_one(
    arguments: list[str], local_root: Path, succeed: Run
) -> None:
    """Once an index is kept, neither its path nor a picture loads what only building it needs."""
    where = ["--root", str(local_root), "--cache-dir", "cache"]
    succeed("build-index", SERIES, *where)
    code = (
        "import sys; from dicom_series_preview.__main__ import main; "
        f"code = main({[*arguments, *where]!r}); print(code, *sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    status, *modules = done.stderr.splitlines()[-1].split()
    assert status == "0"
    loaded = {name for name in modules if any(f"{name}.".startswith(f"{each}.") for each in NEEDLESS)}
    assert not loaded
    assert all(importlib.util.find_spec(name) for name in NEEDLESS if name.startswith("dicom_series_preview"))
    assert "dicom_series_preview.archive.index.index" in modules
    assert sum(name.startswith("dicom_series_preview") for name in modules) <= MOST_MODULES


def test_pyarrow_brings_nothing_along(local_root: Path) -> None:
    """The program hides from PyArrow what it imports where that is installed, and does without elsewhere."""
    arguments = ["dicom-series-preview", "mosaic", SERIES, "a.webp", "--root", str(local_root)]
    code = (
        "import sys; from dicom_series_preview.doors.cli import commands; "
        "commands.end_with = lambda status: print(status, *sys.modules); "
        f"sys.argv = {arguments!r}; commands.run(None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    status, *modules = done.stdout.split()
    assert status == "0"
    assert "pyarrow.fs" in modules
    clouds = {f"pyarrow._{name}" for name in ("azurefs", "gcsfs", "hdfs", "s3fs")}
    assert not {"pandas", *clouds} & set(modules)


# --- the installed program


def test_program_renders(local_root: Path) -> None:
    """The installed program writes the picture, says a line for it and one for the rest, and ends with 0."""
    done = console(SCRIPT, "mosaic", "389*", "a.webp", "--root", local_root)
    assert (done.returncode, done.stdout) == (0, "")
    picture, others = done.stderr.splitlines()
    assert picture.startswith("a.webp: 768 x 768, 36 of 40 slices, 2 objects skipped, index built; ")
    assert others.startswith(f"{SERIES} holds 2 stacks: this is stack 0; ")
    assert Path("a.webp").read_bytes()[8:12] == b"WEBP"


def test_program_fails(local_root: Path) -> None:
    """The installed program ends with 1 and one line, for usage errors too."""
    for arguments in (("mosaic", "nothing", "a.webp", "--root", local_root), ("mosaic",), ("nonsense",)):
        done = console(SCRIPT, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(r"error: [^\n]+\n", done.stderr)
    assert list(Path().iterdir()) == []


def test_module_is_the_program(local_root: Path) -> None:
    """`python -m dicom_series_preview` is the same program."""
    done = subprocess.run(
        [sys.executable, "-m", "dicom_series_preview", "get-index", SERIES, "--root", str(local_root)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert Path(done.stdout.strip()).is_file()


def test_program_loads_no_more_than_it_needs(local_root: Path) -> None:
    """No picture loads pydicom, pandas, numpy.ma or pyarrow.compute, whether its index is built or read."""
    assert importlib.util.find_spec("pandas") is not None
    command = [sys.executable, "-X", "importtime", "-m", "dicom_series_preview", "mosaic", "389*", "a.webp"]
    for source in ("built", "cache"):
        done = subprocess.run(
            [*command, "--root", str(local_root)], capture_output=True, text=True, check=True
        )
        assert f"index {source}" in done.stderr
        loaded = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]
        assert "pyarrow.lib" in loaded
        needless = ("pydicom", "pandas.", "numpy.ma.", "pyarrow.compute")
        assert not [name for name in loaded if name.startswith(needless)]


# --- streams


def test_only_paths_go_to_standard_output(local_root: Path, succeed: Run) -> None:
    """Standard output is the path of `get-index` and `sample`, and empty elsewhere, with -v too."""
    where = ("--root", local_root, "-v")
    assert succeed("mosaic", SERIES, "a.webp", *where).stdout == ""
    assert succeed("get-image", SERIES, "a.webp", "--position", 0, *where).stdout == ""
    assert succeed("contrast-mosaic", SERIES, "a.webp", "--contrast", "lung", *where).stdout == ""
    assert succeed("build-index", SERIES, *where).stdout == ""
    assert Path(succeed("get-index", SERIES, *where).stdout.strip()).is_file()


@pytest.mark.parametrize("option", ["-v", "--verbose", "-vq30"])
def test_verbose_adds_the_trace(option: str, local_root: Path, command: Run) -> None:
    """With -v an error comes with its trace, and still ends with its line."""
    arguments = ("mosaic", "nothing", "a.webp", "--root", local_root)
    quiet, verbose = command(*arguments), command(*arguments, option)
    assert "Traceback" not in quiet.stderr
    assert "Traceback (most recent call last)" in verbose.stderr
    assert verbose.lines[-1] == quiet.lines[-1]
    assert (quiet.status, verbose.status) == (1, 1)


# --- patient data


def test_no_patient_data_anywhere(tmp_path: Path, command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a patient is in any output, report or file name, with -v, and where commands fail."""
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    root = tmp_path / "root"
    series = synthetic.series()
    folder = series.write(root)
    first, second, third = series.file_names[:3]
    (folder / first).write_bytes(series.objects[first][:-5000])
    (folder / second).write_bytes(series.objects[second][:700])
    dataset = synthetic.slice_dataset(SERIES, 2, synthetic.SLICES)
    dataset.WindowWidth = 0
    (folder / third).write_bytes(make_dicom.encode(dataset))
    broken = root / "broken"
    broken.mkdir()
    for name in series.file_names[:4]:
        (broken / name).write_bytes(series.objects[name][:-8000])
    outcomes = [
        command(*line.split(), "--root", root, "-v")
        for line in (
            f"mosaic {SERIES} a.webp --report a.json",
            f"mosaic {SERIES} z.webp --contrast embedded --report z.json",
            "mosaic broken b.webp --report b.json",
            f"get-image {SERIES} c.jpg --position 0 --report c.json",
            f"get-image {SERIES} c.jpg --position 0.5 --slice-offset 99",
            f"contrast-mosaic {SERIES} d.webp --contrast auto --contrast embedded --report d.json",
            f"contrast-mosaic {SERIES} d.webp --contrast embedded:nothing --report e.json",
            f"build-index {SERIES} broken nothing",
            f"get-index {SERIES}",
            f"mosaic {SERIES} f.webp --stack 9",
            "mosaic nothing g.webp",
        )
    ]
    assert {outcome.status for outcome in outcomes} == {0, 1}
    said = "".join(outcome.stdout + outcome.stderr for outcome in outcomes)
    written = "".join(path.read_text(encoding="utf-8") for path in Path().glob("*.json"))
    assert len(list(Path().glob("*.json"))) >= 4
    names = " ".join(str(path) for path in tmp_path.rglob("*"))
    for secret in synthetic.SECRETS:
        assert secret not in said
        # To choose a stack by: the one value of the header that a report has.
        assert secret not in written or secret == planted.DESCRIPTION
        assert secret not in names


def test_pictures_hold_no_metadata(local_root: Path, succeed: Run) -> None:
    """Pictures are pixels only."""
    for name in ("a.webp", "a.jpg"):
        succeed("mosaic", SERIES, name, "--root", local_root)
        data = Path(name).read_bytes()
        for chunk in (b"Exif", b"EXIF", b"XMP", b"ICCP", *(secret.encode() for secret in synthetic.SECRETS)):
            assert chunk not in data


def test_server_sees_no_patient_data(succeed: Run) -> None:
    """Nothing of a patient is in what a web server is asked."""
    series = synthetic.series("remote", 3, others=False)
    links = "".join(f'<a href="{name}">{name}</a>\n' for name in series.file_names)

    def answer(asked: servers.Asked) -> servers.Answer:
        if asked.method == "PROPFIND":
            return servers.Answer(405)
        name = asked.path.rpartition("/")[2]
        if name in series.objects:
            return servers.Answer(200, {}, series.objects[name])
        return servers.Answer(200, {"Content-Type": "text/html"}, f"<html>{links}</html>".encode())

    with servers.ScriptedServer(answer) as server:
        succeed("mosaic", "remote", "a.webp", "--root", server.url)
        asked = json.dumps([(request.method, request.path, request.headers) for request in server.asked])
    assert not [secret for secret in synthetic.SECRETS if secret in asked]


# --- hard circumstances


def started(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Starts the installed program without waiting for it."""
    return subprocess.Popen(
        [script, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_process_ends_as_it_should_when_the_index_is_there(local_root: Path) -> None:
    """Reading an index leaves no thread that aborts the process when it ends."""
    arguments = ("get-index", SERIES, "--root", local_root)
    console(SCRIPT, *arguments)
    for _ in range(3):
        processes = [started(SCRIPT, *arguments) for _ in range(2)]
        for process in processes:
            _, stderr = process.communicate(timeout=60)
            assert (process.returncode, stderr) == (0, "")


def test_no_warnings_in_development_mode(local_root: Path, moto: servers.Moto, dav_url: str) -> None:
    """Nothing is left open and nothing deprecated is used: Python's warnings are errors, none comes."""
    client = moto.client("s3")
    client.create_bucket(Bucket="development")
    client.close()
    for root, status in ((str(local_root), 0), ("s3://development", 1), (dav_url, 1)):
        done = subprocess.run(
            [
                *(sys.executable, "-X", "dev", "-W", "error", "-m", "dicom_series_preview"),
                *("mosaic", SERIES, "a.webp", "--root", root),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **moto.environment},
        )
        # The series has a localizer, of which a line tells.
        lines = done.stderr.count("\n")
        assert (done.returncode, done.stdout, lines) == (status, "", 1 if status else 2), done.stderr
