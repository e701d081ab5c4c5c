"""Compare everything that users see before and after a change of the code's structure.

    python benchmarks/identity.py write FOLDER before.json
    python benchmarks/identity.py compare before.json after.json

FOLDER holds real DICOM files. All requests go through the users' doors: the command line, a local server over
HTTP, and Python. It compares the bytes of pictures with their headers, ETags and warnings; every index's
schema, metadata and cells, with its path in the cache; the requests that each one cost; the help of each
command; the description of the HTTP API; and the lines of errors.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pyarrow.parquet as pq
import urllib3

if TYPE_CHECKING:
    from collections.abc import Iterator

TOOL = Path(sys.executable).with_name("dicom-series-preview")
PICTURES = {
    "mosaic": ("mosaic?tile_width=3&tile_height=3&image_width=128", "image/webp"),
    "mosaic, jpeg": ("mosaic?tile_width=2&image_width=200&contrast=auto&quality=70", "image/jpeg"),
    "image": ("image?position=0.5&image_width=256&overlays=true", "image/webp"),
    "contrasts": (
        "contrast-mosaic?contrast=lung&contrast=1500/-500&contrast=auto&image_width=96",
        "image/webp",
    ),
    "untiled": ("mosaic?tile_width=2&image_width=96&untile=true&start=0.2&end=0.8", "image/webp"),
}
COMMANDS = (
    "build-index",
    "cache",
    "codecs",
    "contrast-mosaic",
    "explain",
    "get-image",
    "get-index",
    "mosaic",
    "sample",
    "serve",
)
MISTAKES = (
    ("mosaic",),
    ("mosaic", "nothing-here", "a.webp"),
    ("mosaic", "../x", "a.webp"),
    ("mosaic", "{series}", "a.gif"),
    ("mosaic", "{series}", "a.webp", "--tile-width", "0", "--quality", "101"),
    ("mosaic", "{series}", "a.webp", "--contrast", "nonsense"),
    ("mosaic", "{series}", "a.webp", "--stack", "99"),
    ("mosaic", "{series}", "missing/a.webp"),
    ("get-image", "{series}", "a.webp", "--position", "2"),
    ("get-image", "{series}", "a.webp", "--position", "0.5", "--slice-offset", "9999"),
    ("contrast-mosaic", "{series}", "a.webp"),
    ("contrast-mosaic", "{series}", "a.webp", "--contrast", "lung", "--position", "0.5", "--start", "0.1"),
    ("mosaic", "{series}", "a.webp", "--root", "ftp://host/x"),
    ("build-index", "{series}", "--limit", "-1"),
)
HEADERS = ("etag", "content-type", "cache-control")
COSTS = ("preview-requests", "preview-bytes")


def main() -> int:
    """Write the facts, or compare two such files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    write = commands.add_parser("write")
    write.add_argument("folder", type=Path)
    write.add_argument("output", type=Path)
    compare = commands.add_parser("compare")
    compare.add_argument("before", type=Path)
    compare.add_argument("after", type=Path)
    given = parser.parse_args()
    if given.command == "compare":
        return compared(json.loads(given.before.read_text()), json.loads(given.after.read_text()))
    with tempfile.TemporaryDirectory() as temporary:
        # The same path each time: indices and errors contain it.
        root = Path(tempfile.gettempdir()) / "dicom-identity"
        shutil.rmtree(root, ignore_errors=True)
        try:
            found = dict(facts(arranged(given.folder, root / "root"), root, Path(temporary)))
        finally:
            shutil.rmtree(root, ignore_errors=True)
    given.output.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    print(f"{given.output}: {len(found)} facts")
    return 0


def compared(before: dict[str, str], after: dict[str, str]) -> int:
    """Print the differences; return 1 if there are any."""
    differing = [key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)]
    for key in differing:
        print(f"{key}\n  before: {before.get(key, '-')[:300]}\n  after:  {after.get(key, '-')[:300]}")
    print(f"{len(before)} facts before, {len(after)} after, {len(differing)} differ")
    return 1 if differing else 0


def arranged(folder: Path, root: Path) -> list[str]:
    """Make a root with each series, and each single file as a series of its own; return their names.

    File times are the same each time, because versions contain them.
    """
    names = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.parent != folder and path.suffix not in (".md", ".csv", ".json"):
            inside = path.relative_to(folder)
            if inside.parts[0] not in ("series", "mr", "order"):
                inside = inside / "object.dcm"
            target = root / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            os.utime(target, ns=(10**18, 10**18))
            if inside.parent.as_posix() not in names:
                names.append(inside.parent.as_posix())
    return names


def facts(names: list[str], root: Path, temporary: Path) -> Iterator[tuple[str, str]]:
    """Yield what users see, by request."""
    cache = root / "cache"
    yield from said(next(name for name in names if name.startswith("series/")), root, temporary)
    with served(root / "root", cache) as url, urllib3.PoolManager() as pool:
        yield "openapi", digest(pool.request("GET", f"{url}/openapi.json").data)
        for name in names:
            series = f"{url}/series/{quote(name, safe='')}"
            for what, (asked, accept) in PICTURES.items():
                yield (
                    f"{name} | {what}",
                    answered(pool.request("GET", f"{series}/{asked}", headers={"Accept": accept})),
                )
            answer = pool.request("GET", f"{series}/index", fields={"format": "parquet"})
            yield f"{name} | index", table_digest(answer.data) if answer.status == 200 else answered(answer)
    for path in sorted(cache.rglob("*.parquet")):
        yield f"kept | {path.relative_to(cache)}", table_digest(path.read_bytes())


def said(series: str, root: Path, temporary: Path) -> Iterator[tuple[str, str]]:
    """Yield the command line's output."""
    for command in ("", *COMMANDS):
        yield f"help | {command}", digest(run(root, temporary, *filter(None, [command]), "--help").encode())
    for mistake in MISTAKES:
        arguments = [argument.format(series=series) for argument in mistake]
        given = [] if "--root" in arguments or len(arguments) == 1 else ["--root", str(root / "root")]
        yield f"mistake | {' '.join(mistake)}", run(root, temporary, *arguments, *given)
    for state in ("cold", "warm"):
        run(
            root,
            temporary,
            "mosaic",
            series,
            "a.webp",
            "--root",
            str(root / "root"),
            "--report",
            "report.json",
        )
        report = json.loads((temporary / "report.json").read_text())
        cost = report.pop("cost")
        yield f"report | {state}", json.dumps(report)
        if state == "warm":
            yield f"cost | {state}", json.dumps([cost["list_requests"], cost["get_requests"], cost["bytes"]])
        yield f"command | {state}", digest((temporary / "a.webp").read_bytes())


def run(root: Path, temporary: Path, *arguments: str) -> str:
    """Return a command's output and its exit status."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(temporary),
        "DICOM_SERIES_PREVIEW_CACHE_DIR": str(root / "commands"),
        "COLUMNS": "100",
    }
    done = subprocess.run(
        [TOOL, *arguments], cwd=temporary, env=environment, capture_output=True, text=True, check=False
    )
    text = re.sub(r"\d+\.\d+ s\b", "", done.stdout + done.stderr)
    return f"{done.returncode}: {text}"


@contextlib.contextmanager
def served(root: Path, cache: Path) -> Iterator[str]:
    """Run a local server, and yield its address."""
    process = subprocess.Popen(
        [TOOL, "serve", "--root", root, "--cache-dir", cache, "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        found = None
        while found is None:
            found = re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline())
        yield found[0]
    finally:
        process.terminate()
        process.communicate()


def answered(answer: urllib3.BaseHTTPResponse) -> str:
    """Return an answer: its headers and a digest of its body, or its problem."""
    headers = {name.lower(): value for name, value in answer.headers.items() if is_told(name.lower())}
    if headers.get("preview-index") == "built":
        # The number of headers read with a second request depends on which answers arrived first.
        headers = {name: value for name, value in headers.items() if name not in COSTS}
    body = digest(answer.data) if answer.status == 200 else answer.data.decode()
    return json.dumps([answer.status, dict(sorted(headers.items())), body])


def is_told(name: str) -> bool:
    """Return True for a header to compare: all of ours, except those with times."""
    return name in HEADERS or (name.startswith("preview-") and "time" not in name)


def table_digest(data: bytes) -> str:
    """Return a digest of an index: names, types, metadata and cells."""
    table = pq.read_table(io.BytesIO(data))
    return digest(f"{table.schema.to_string(truncate_metadata=False)}{table.to_pylist()}".encode())


def digest(data: bytes) -> str:
    """Return a short digest."""
    return hashlib.sha256(data).hexdigest()[:24]


if __name__ == "__main__":
    sys.exit(main())
