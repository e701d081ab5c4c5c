"""docs/index.md is in step with the schema, and what it shows runs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

import make_dicom as make
from dicom_series_preview.archive.index.build import build
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.index.schema import FIXED_COLUMNS
from indexing import PROVENANCE, records_of

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs" / "index.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two indices, the current one."""
    for name in ("index", "other"):
        sources = [make.image(i, EchoTime=i, Manufacturer=name) for i in (1, 2)]
        odd = [make.add(source, 0x00180060, "LO", f"odd {i}") for i, source in enumerate(sources)]
        objects = {f"{name}{i}": make.encode(source) for i, source in enumerate(odd)}
        (tmp_path / f"{name}.parquet").write_bytes(Index(build(records_of(objects), PROVENANCE)).to_parquet())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_is_in_step_with_the_schema() -> None:
    """docs/index.md describes each column as the schema has it."""
    check = [sys.executable, "tests/docs/index_page.py", "--check"]
    done = subprocess.run(check, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(f"| `{column.name}` |" in PAGE for column in FIXED_COLUMNS)


@pytest.mark.usefixtures("folder")
def test_the_queries_of_the_page_run() -> None:
    """The SQL that the page shows runs as it stands."""
    with duckdb.connect() as connection:
        statements = [one.strip() for block in blocks("sql") for one in block.split(";") if one.strip()]
        answers = [connection.execute(statement).fetchall() for statement in statements]
    assert len(answers) == 6
    assert all(answers[1:4])
    assert [json.loads(row[1])["Value"] for row in answers[4]] == [["odd 1"], ["odd 0"]]
    assert len(answers[5]) == 2


def test_the_python_of_the_page_runs(folder: Path) -> None:
    """The Python that the page shows runs as it stands, and all readers see all rows and columns."""
    known: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, str(folder), "exec"), known)  # noqa: S102
    slices = known["slices"].collect()  # type: ignore[attr-defined]
    table = known["dataset"].to_table()  # type: ignore[attr-defined]
    assert slices.height == table.num_rows == 4
    assert set(slices.columns) == set(table.column_names)
    frame = known["frame"]
    assert frame.shape == table.shape  # type: ignore[attr-defined]
    assert list(frame.columns) == table.column_names  # type: ignore[attr-defined]
    assert sorted(table["Manufacturer"].to_pylist()) == ["index", "index", "other", "other"]
