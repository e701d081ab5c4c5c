"""What the hosted CI runs."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    """The workflow's jobs."""
    path = PROJECT / ".github" / "workflows" / "ci.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]


def runs(job: dict[str, Any]) -> list[str]:
    """What a job types."""
    return [step["run"] for step in job["steps"] if "run" in step]


def test_linux_runs_what_ci_runs(jobs: dict[str, Any]) -> None:
    """One job on Linux is `.ci/run` and nothing of its own, with the Python that the layers need."""
    assert runs(jobs["linux"])[-1] == ".ci/run"
    assert jobs["linux"]["runs-on"] == "ubuntu-latest"
    assert jobs["linux"]["steps"][1]["with"]["python-version"] == "3.13"


def test_every_python_that_is_allowed_is_run(jobs: dict[str, Any]) -> None:
    """The Pythons that the package's classifiers name are the ones of the jobs."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    allowed = {found[1] for line in project["classifiers"] if (found := re.search(r":: (3\.\d+)$", line))}
    linux = jobs["linux"]["steps"][1]["with"]["python-version"]
    assert {*jobs["pythons"]["strategy"]["matrix"]["python"], linux} == allowed


def test_the_other_systems_run_the_suite(jobs: dict[str, Any]) -> None:
    """On macOS and Windows the steps of `make test` are typed, with files that are there."""
    job = jobs["systems"]
    assert set(job["strategy"]["matrix"]["system"]) == {"macos-latest", "windows-latest"}
    lines = runs(job)
    assert lines[-1] == "python -m pytest -n auto"
    named = [name for line in lines for name in re.findall(r"-r (\S+)", line)]
    assert named == [f"requirements/{name}.txt" for name in ("build", "volumes", "dev")]
    assert all((PROJECT / name).exists() for name in named)
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    for line in lines:
        assert line.replace("python -m", "").split(" -")[-1] in makefile
