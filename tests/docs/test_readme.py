"""What the README shows is run."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from dicom_sample import SAMPLE_SERIES, write_sample
from dicom_series_preview.__main__ import main
from docs import readme

PROJECT = Path(__file__).parents[2]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
UUID = "38902e14-b11f-4548-910e-771ee757dc82"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """Every command line of ours in the README, those inside $(...) too."""
    lines = [line.partition(" #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    inner = [match[1] for line in lines for match in re.finditer(r"\$\((dicom-series-preview [^)]*)\)", line)]
    ours = r"(\.venv/bin/)?dicom-series-preview (?!serve )"
    whole = [line for line in lines if re.match(ours, line)]
    return whole + inner


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with series under the names that the README uses."""
    folder = tmp_path_factory.mktemp("root")
    sample = write_sample(folder, slices=10)
    for name in (UUID, "SERIES", "SERIES1", "SERIES2", "SERIES_FOLDER", "1.3.6.1.4.1.14519.5.2.1.7"):
        shutil.copytree(sample, folder / name)
    return folder


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_readme_succeeds(
    command: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that the README shows does what it says when it is typed with a root that has the series."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DICOM_SERIES_PREVIEW_CACHE_DIR", str(tmp_path / "cache"))
    arguments = [
        argument.replace("/path/to/the/folder/above", str(root))
        .replace("/data/dicom", str(root))
        .replace("/cache", str(tmp_path / "cache"))
        for argument in shlex.split(command)[1:]
    ]
    if "--help" not in arguments and "--root" not in arguments and arguments[0] != "cache":
        arguments += ["--root", str(root)]
    if arguments[0] in {"list", "query"}:
        assert main(["update", "--root", str(root)]) == 0
    assert main(arguments) == 0
    pictures = [Path(a) for a in arguments if a.endswith((".webp", ".jpg"))]
    assert all(picture.stat().st_size for picture in pictures)


def test_the_readme_has_commands_to_run() -> None:
    """The README is read as it is written: its commands are found."""
    assert len(commands()) >= 10


def test_the_python_of_the_readme_runs(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's Python runs as it stands, on a root that has the series."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DICOM_SERIES_PREVIEW_CACHE_DIR", str(tmp_path / "cache"))
    code = next(block for block in blocks("python") if "dicom_series_preview" in block)
    exec(compile(code.replace(f'"{UUID}"', f'"{UUID}", root={str(root)!r}'), "README.md", "exec"), {})  # noqa: S102
    assert (tmp_path / "middle.webp").stat().st_size


def test_each_line_of_the_readme_is_followed_or_named() -> None:
    """`make readme` types every line of a block but those that need a deployment, each with its reason."""
    steps = readme.steps(README)
    assert {step.language for step in steps} == set(re.findall(r"^```(\w+)$", README, re.MULTILINE))
    followed = [step.text for step in steps if not step.left_out]
    assert len(followed) >= 15
    for step in steps:
        words = ("API_URL", "DATA_BUCKET", "sam build", "make test")
        assert bool(step.left_out) == any(word in step.text for word in words), step.text


def test_every_file_the_readme_names_is_there() -> None:
    """A link or picture of the README leads to a file of the project."""
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", README) if "://" not in t]
    assert targets
    assert not [target for target in targets if not (PROJECT / target).exists()]


def test_the_sample_is_the_one_of_make_demo() -> None:
    """`make demo` previews the series that the sample command writes."""
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    assert f"'{SAMPLE_SERIES[:4]}*'" in makefile
