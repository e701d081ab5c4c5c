from typing import NoReturn

import pytest

from dicom_series_preview.archive.here import find
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.base.errors import NoImageError
from dicom_series_preview.doors.cli.building import _build_all, _Told
from dicom_series_preview.doors.cli.console import Progress
from dicom_series_preview.doors.cli.several import Job
from dicom_series_preview.sources.storage.deadline import Deadline

HANG_S = 60


class Failing:
    """Builds no index: each series fails in its own way."""

    running = Deadline()

    def build(self, job: Job, *_: object) -> NoReturn:
        """One mistake of ours, one error of the product's."""
        raise IndexError("DOE^JOHN") if job.shown == "a" else NoImageError(job.shown, "root", "no image")


@pytest.mark.parametrize("verbose", [False, True])
def test_one_series_mistake_is_not_the_others(verbose: bool, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: FBT001
    """Whatever ends one series, each has its line; that of a mistake of ours says its type, -v its trace."""
    named = find("a", "root", {})
    told = _Told({"verbose": verbose, "quiet": True, "as_json": False})
    jobs = [Job(name, named, SeriesName(name)) for name in "ab"]
    _build_all(Failing(), jobs, None, Progress(quiet=True), told)  # type: ignore[arg-type]
    lines = capsys.readouterr().err.splitlines()
    failed = sorted(line for line in lines if line.startswith("failed"))
    assert failed[0] == "failed   a: failed unexpectedly: IndexError; --verbose shows where"
    assert failed[1].startswith("failed   b: ")
    assert told.failures == 2
    assert any("Traceback" in line for line in lines) is verbose
