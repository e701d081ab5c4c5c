"""docs/quality.md tells the rules as they are."""

import ast
import re
from pathlib import Path

import pytest

from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.pixels.quality.metrics import SAMPLE
from dicom_series_preview.pixels.quality.rules import REASONS
from dicom_series_preview.pixels.quality.thresholds import Thresholds
from dicom_series_preview.products.quality import findings
from dicom_series_preview.products.quality.judging import Judging, judge_opened
from dicom_series_preview.products.quality.lines import line_of
from dicom_series_preview.sources.storage.local import LocalStorage

PAGE = (Path(__file__).parents[2] / "docs" / "quality.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_every_rule_is_on_the_page_with_its_words() -> None:
    """The table of rules has the reasons and their texts, in the order of the product."""
    _, *rows = re.findall(r"^\| `([a-z_]+)` \| ([A-Z][a-z -]+) \|", section("The rules"), re.MULTILINE)
    assert rows == [(reason.id, reason.text) for reason in REASONS]
    assert f"up to {SAMPLE:,} values" in PAGE


def test_the_thresholds_on_the_page_are_those_of_the_product() -> None:
    """Each variable is in the table, with the numbers that are built in."""
    rows = [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in section("Thresholds").splitlines()
        if row.startswith("| `")
    ]
    table = {
        name: dict(zip(("PT", "CT", "MR", "DX"), cells, strict=True))
        for names, *cells in rows
        for name in re.findall("`([A-Z_]+)`", names)
    }
    assert set(table) == {name.upper() for name in Thresholds.from_environment({}, "").document()}
    for modality in ("PT", "CT", "MR", "DX"):
        built_in = Thresholds.from_environment({}, modality).document()
        for name in ("DYNAMIC_RANGE_MIN", "STD_MIN", "UNIQUE_RATIO_MIN"):
            assert float(table[name][modality]) == built_in[name.lower()]
    for name in ("LOW_RATIO_THRESHOLD", "HIGH_RATIO_THRESHOLD", "SERIES_LOW_QUALITY_RATIO"):
        assert float(table[name]["PT"]) == Thresholds().document()[name.lower()]
    assert table["PERCENTILE_LOW"]["PT"] == "2, 98"


def test_every_finding_is_on_the_page() -> None:
    """The table of findings has each code that the product gives, and no other."""
    tree = ast.parse(Path(findings.__file__).read_text(encoding="utf-8"))
    given = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding"
        if isinstance(node.args[0], ast.Constant)
    }
    firsts = [row.split("|")[1] for row in section("Findings").splitlines() if row.startswith("| `")]
    assert {code for first in firsts for code in re.findall("`([a-z_]+)`", first)} == given


@pytest.mark.real_data
def test_the_lines_on_the_page_are_those_of_the_series(real_data: Path) -> None:
    """The example shows what is said of real series."""
    lines = PAGE.partition("```text\n")[2].partition("```")[0].splitlines()
    assert len(lines) == 3
    for line in lines:
        name = line.partition(":")[0]
        series = SeriesIndexer(LocalStorage(real_data / "series", 4), None, Limits()).open(SeriesName(name))
        judging = Judging(lambda modality: Thresholds.from_environment({}, modality), Limits())
        assert line_of(judge_opened(series, judging)) == line
