"""Follow the README in a fresh environment: its blocks, in their order, as they are typed.

Usage: python tests/docs/readme.py [--with-tests]

A copy of the repository and a virtual environment are made in a temporary folder, from the package registry.
Names of series, folders and the port are replaced by ones that are there; nothing else is. What needs an AWS
account is named and left out: tests/functions and tests/aws run it against local servers. `make test` takes
long and is left out without --with-tests.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import venv
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]
UUID = "38902e14-b11f-4548-910e-771ee757dc82"
NAMES = (UUID, "SERIES", "SERIES1", "SERIES2", "SERIES_FOLDER", "1.3.6.1.4.1.14519.5.2.1.7")
# By the beginning of a line, why it is left out.
LEFT_OUT = {
    "sam ": "needs an AWS account",
    "aws ": "needs an AWS account",
    "python examples/signed.py": "needs a deployment; tests/functions/test_signed.py types it",
    "make test ": "takes long; --with-tests",
}
# The default root is not ours to ask: a command that names none is given the folder of the samples.
WRAPPER = """#!/bin/bash
case "$1 $*" in
  *--root*) ;;
  mosaic\\ *|get-image\\ *|contrast-mosaic\\ *|build-index\\ *|get-index\\ *) set -- "$@" --root {root} ;;
esac
exec {program} "$@"
"""
DUCKDB = """#!{python}
import sys, duckdb
print(duckdb.sql(sys.argv[2]))
"""


@dataclass(frozen=True)
class Step:
    """A line of shell, or a block of Python.

    Attributes:
        language: `sh` or `python`.
        text: What is typed, continued lines joined.
    """

    language: str
    text: str

    @property
    def left_out(self) -> str:
        """Why it is not run, or nothing."""
        lines = [f"{line} " for line in self.text.splitlines()]
        return next((why for line in lines for start, why in LEFT_OUT.items() if line.startswith(start)), "")


def steps(text: str) -> list[Step]:
    """Every step of a page, in its order."""
    found = []
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        if language == "python":
            found.append(Step(language, block))
            continue
        lines = block.replace("\\\n", " ").splitlines()
        found += [Step(language, line) for line in lines if line.strip() and not line.startswith("#")]
    return found


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Place:
    """A fresh environment.

    Args:
        folder: An empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.clone, self.root, self.bin = folder / "clone", folder / "root", folder / "bin"
        self.bin.mkdir()
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=PROJECT, check=True, capture_output=True, text=True
        )
        for name in filter(None, listed.stdout.split("\0")):
            (self.clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, self.clone / name)
        venv.create(folder / "venv", with_pip=True)
        self.python = folder / "venv" / "bin" / "python"
        install = [self.python, "-m", "pip", "install", "--quiet", ".", "duckdb"]
        subprocess.run(install, cwd=self.clone, check=True)
        program = self.python.with_name("dicom-series-preview")
        subprocess.run([program, "sample", self.root], check=True, capture_output=True)
        (sample,) = self.root.iterdir()
        for name in NAMES:
            shutil.copytree(sample, self.root / name)
        self._script("dicom-series-preview", WRAPPER.format(root=self.root, program=program))
        self._script("duckdb", DUCKDB.format(python=self.python))
        self.port = free_port()
        home = folder / "home"
        home.mkdir()
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "DICOM_"))}
        path = os.pathsep.join([str(self.bin), str(self.python.parent), os.environ["PATH"]])
        self.environment = {**kept, "PATH": path, "HOME": str(home)}
        self.servers: list[subprocess.Popen[bytes]] = []

    def _script(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text, encoding="utf-8")
        (self.bin / name).chmod(0o755)

    def follow(self, step: Step) -> int:
        """Do a step; its exit status."""
        text = step.text.replace("/path/to/the/folder/above", str(self.root))
        text = text.replace("/data/dicom", str(self.root)).replace("--cache-dir /cache", "--cache-dir cache")
        text = re.sub(r"\b8080\b", str(self.port), text)
        if step.language == "python":
            text = text.replace(f'"{UUID}"', f'"{UUID}", root={str(self.root)!r}')
            return self._run([str(self.python), "-c", text])
        if text.startswith("dicom-series-preview serve "):
            self.servers.append(subprocess.Popen(["bash", "-c", f"exec {text}"], env=self.environment))
            self._wait()
            return 0
        return self._run(["bash", "-c", text.replace("curl -o", "curl --fail --silent --show-error -o")])

    def _run(self, command: list[str]) -> int:
        done = subprocess.run(command, cwd=self.clone, env=self.environment, capture_output=True, check=False)
        if done.returncode:
            sys.stderr.buffer.write(done.stdout + done.stderr)
        return done.returncode

    def _wait(self) -> None:
        """Until the server answers, a minute at most."""
        for _ in range(600):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.1)


def main() -> int:
    """Follow the README; 1 where a step fails."""
    if "--with-tests" in sys.argv:
        del LEFT_OUT["make test "]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="readme-") as folder:
        place = Place(Path(folder))
        try:
            for step in steps((place.clone / "README.md").read_text(encoding="utf-8")):
                status = None if step.left_out else place.follow(step)
                said = {None: f"left out, {step.left_out}", 0: "ok"}.get(status, f"FAILED with {status}")
                print(f"{said:10}  {step.text.strip().splitlines()[0]}", flush=True)
                failed += bool(status)
        finally:
            for server in place.servers:
                server.terminate()
                server.wait()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
