"""What docs/python.md shows is run, and it names all that there is."""

import re
import shutil
from pathlib import Path

import pytest

import dicom_series_preview
from dicom_sample import write_sample
from dicom_series_preview import Archive, Preview, Series

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")


def test_the_python_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The blocks of the page run one after the other, as they stand, on a root that has the series."""
    shutil.copytree(write_sample(tmp_path, slices=4), tmp_path / "root" / "SERIES")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DICOM_SERIES_PREVIEW_CACHE_DIR", str(tmp_path / "cache"))
    known: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE):
        exec(compile(block.replace("/data/dicom", str(tmp_path / "root")), "python.md", "exec"), known)  # noqa: S102
    assert known["picture"].size == (768, 256)  # type: ignore[attr-defined]
    assert known["hounsfield"].ndim == 2  # type: ignore[attr-defined]
    assert (tmp_path / "contrasts.png").stat().st_size
    assert capsys.readouterr().out.startswith("position: ")


def test_the_page_names_all_that_there_is() -> None:
    """Every public name of the package, of a series and of a picture is on the page."""
    names = {*dicom_series_preview.__all__, *vars(Series), *vars(Preview), *vars(Archive)}
    assert not [name for name in names if not name.startswith("_") and name not in PAGE]


def test_what_is_no_name_is_a_type_error(tmp_path: Path) -> None:
    """As the page says: a name that is none, and a row that is no number."""
    shutil.copytree(write_sample(tmp_path, slices=2), tmp_path / "root" / "SERIES")
    with pytest.raises(TypeError):
        Series(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Series(tmp_path / "root" / "SERIES", cache=False).header("x")  # type: ignore[arg-type]
