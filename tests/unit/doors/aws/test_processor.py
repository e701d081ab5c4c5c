import os
import subprocess
import sys
from pathlib import Path

import pytest

HANDLERS = ("http_handler('mosaic')", "sqs_handler()", "batch_prepare_handler()", "batch_api_handler()")


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("other", [True, False])
def test_layers_of_another_processor(handler: str, other: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """A function that was given layers of another processor says so when it starts, and nothing else."""
    machine = "pdp11" if other else os.uname().machine
    (tmp_path / "dicom_series_preview_built_for.py").write_text(f"MACHINE = {machine!r}\n")
    result = subprocess.run(
        [sys.executable, "-c", f"import dicom_series_preview.doors.aws.handlers as doors\ndoors.{handler}"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    told = result.stderr.splitlines()[-1]
    assert result.returncode == 1
    assert ("built for pdp11" in told and "same Architecture" in told) is other
