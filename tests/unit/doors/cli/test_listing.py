import pytest
from rich.cells import cell_len

from dicom_series_preview.doors.cli.listing import fit

UID = "1.2.840.113619.2.55.3.604688119.971.1234567890.123"
CELLS = {
    "SeriesInstanceUID": [UID, "1.2"],
    "Modality": ["CT", "MR"],
    "StudyDate": ["2018-01-05", "2018-02-01"],
    "SeriesNumber": ["1", "12"],
    "SeriesDescription": ["a long description of what was done", "頭部の単純撮影と造影撮影のまとめ"],
    "Slices": ["150", "1234567"],
}
TEXTS = {"SeriesInstanceUID", "Modality", "SeriesDescription"}


def line(cells: dict[str, list[str]]) -> int:
    """How wide a terminal's line of a table is."""
    return sum(max(map(cell_len, (name, *column))) + 3 for name, column in cells.items()) - 1


@pytest.mark.parametrize("room", range(30, 200))
def test_numbers_dates_and_headings_are_never_cut(room: int) -> None:
    """In any width a line fits; texts alone are cut, in their middle; columns on the right are left out."""
    fitted = fit(CELLS, TEXTS, room)
    assert list(fitted) == list(CELLS)[: len(fitted)]
    assert line(fitted) <= room
    for name, column in fitted.items():
        if name not in TEXTS:
            assert column == CELLS[name]
        for cell, whole in zip(column, CELLS[name], strict=True):
            head, cut, tail = cell.partition("…")
            assert cell == whole or (cut and whole.startswith(head) and whole.endswith(tail))
    more = fit(CELLS, TEXTS, room + 1)
    assert len(more) >= len(fitted)


def test_with_room_nothing_is_cut() -> None:
    """Where all fits, all is shown as it is."""
    assert fit(CELLS, TEXTS, line(CELLS)) == CELLS


def test_the_first_column_stays() -> None:
    """However narrow the terminal is, there is a column."""
    assert list(fit(CELLS, TEXTS, 5)) == ["SeriesInstanceUID"]
