"""An update that is killed at any moment leaves a catalogue that the next update makes whole and true."""

import os
import random
import subprocess
import time
from pathlib import Path

import make_dicom as make
from catalogued import Catalogued
from commandline import SCRIPT
from dicom_series_preview.sources.storage.local import LocalStorage

SPLIT = "1.2.4"
KILLS = int(os.environ.get("DICOM_SERIES_PREVIEW_KILLS", "6"))
SERIES = 25


def write(root: Path, version: int) -> None:
    """Write all series in a version of their own."""
    for number in range(SERIES):
        folder = root / f"s{number:02}"
        folder.mkdir(parents=True, exist_ok=True)
        for slice_number in range(1, 4):
            uid = f"1.2.3.{number}.{slice_number}"
            made = make.image(
                slice_number, SeriesInstanceUID=f"1.2.3.{number}", SOPInstanceUID=uid, SeriesNumber=version
            )
            (folder / f"{slice_number}.dcm").write_bytes(make.encode(made))
    for number in range(4):
        folder = root / f"t{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        made = make.image(
            number, SeriesInstanceUID=SPLIT, SOPInstanceUID=f"{SPLIT}.{number}", SeriesNumber=version
        )
        (folder / f"{number}.dcm").write_bytes(make.encode(made))


def test_an_update_killed_at_any_moment_is_made_good_by_the_next(tmp_path: Path) -> None:
    """After each kill every row is whole, old or new; the next update makes all true, of split series too."""
    root, cache = tmp_path / "root", tmp_path / "cache"
    cache.mkdir()
    write(root, 0)
    command = [SCRIPT, "update", "--root", str(root), "--cache-dir", str(cache), "--quiet"]
    started = time.monotonic()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    duration_s = time.monotonic() - started
    rng = random.Random("kills of update")
    killed = 0
    for kill in range(1, KILLS + 1):
        write(root, kill)
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            running.wait(rng.uniform(0.5, 1.1) * duration_s if kill > 1 else 0.0)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
            killed += 1
        found = Catalogued(LocalStorage(root, 4), LocalStorage(cache, 4))
        between = found.rows("Series", "SeriesInstanceUID", "SeriesNumber", "Slices")
        assert [one["Series"] for one in between] == [
            *(f"s{number:02}" for number in range(SERIES)),
            "t0",
            "t1",
        ]
        assert {one["Slices"] for one in between[:SERIES]} == {3}
        assert {one["Slices"] for one in between[SERIES:]} <= {2, 4}
        assert {one["SeriesNumber"] for one in between} <= {kill - 1, kill}
        found.update()
        assert {one["SeriesNumber"] for one in found.rows("SeriesNumber", "Series")} == {kill}
        assert [(one["Slices"], one["Folders"]) for one in found.rows()[SERIES:]] == [(4, 2)] * 2
        assert len(found.rows()) == SERIES + 2
        assert found.update().commits == 0
    assert killed
