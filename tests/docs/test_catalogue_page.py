"""What docs/catalogue.md shows runs, and it describes the columns that there are."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from commandline import Run, clean_environment, command
from dicom_sample import write_sample

__all__ = ["clean_environment", "command"]

PAGE = (Path(__file__).parents[2] / "docs" / "catalogue.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sample series."""
    return write_sample(tmp_path_factory.mktemp("sample"), slices=101)


@pytest.fixture
def sampled(clean_environment: Path, sample: Path) -> Path:
    """A working folder with the sample in `demo`, as `make demo` leaves it."""
    shutil.copytree(sample, clean_environment / "demo" / sample.name)
    return clean_environment


@pytest.mark.usefixtures("sampled")
def test_the_python_of_the_page_runs() -> None:
    """The block of the page runs as it stands beside the demo."""
    known: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "catalogue.md", "exec"), known)  # noqa: S102
    assert known["table"].num_rows == 1  # type: ignore[attr-defined]


@pytest.mark.usefixtures("sampled")
def test_the_commands_of_the_page_run(command: Run) -> None:
    """Each `list` and `query` of the page is answered."""
    assert command("update", "--root", "demo").status == 0
    lines = [line.partition("#")[0] for block in blocks("sh") for line in block.splitlines()]
    asked = [shlex.split(line)[1:] for line in lines if re.match(r"dicom-series-preview (list|query)", line)]
    assert len(asked) == 8
    for words in asked:
        done = command(*(word.replace("/data/dicom", "demo") for word in words))
        assert done.status == 0, (words, done.stderr)


@pytest.mark.usefixtures("sampled")
def test_other_programs_read_the_table(command: Run) -> None:
    """The table's files are plain Parquet with the columns that the page names."""
    command("update", "--root", "demo", "--cache-dir", "cache")
    found = duckdb.sql("SELECT Slices, StudyTime FROM read_parquet('cache/catalogue/*.parquet')").fetchall()
    assert found == [(101, "11:58:00.000000")]


def test_the_page_is_in_step_with_the_columns() -> None:
    """docs/catalogue.md describes each column as the catalogue has it."""
    check = [sys.executable, "tests/docs/index_page.py", "--check"]
    done = subprocess.run(check, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
