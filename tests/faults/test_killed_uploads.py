"""A conversion to a bucket that is killed while it writes leaves no output that passes for whole."""

import os
import subprocess
from pathlib import Path

import pytest

import faulty
import synthetic
from commandline import SCRIPT, Run

RECEIPT = "bucket/out/ct.zarr/receipt.json"
NAMES = ("volume/c/0/0/0", "volume/c/1/0/0", "volume/zarr.json", "zarr.json", "receipt.json")


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", NAMES)
def test_killed_while_it_writes(
    name: str,
    is_done: bool,  # noqa: FBT001 - a parameter of the test
    tmp_path: Path,
    command: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed at any write, before it is done or after: an output has a receipt; a rerun ends the work."""
    root = tmp_path / "root"
    synthetic.series("ct", 70, others=False, side=8).write(root)
    with faulty.FaultyServer() as bucket:
        for variable, value in bucket.environment.items():
            monkeypatch.setenv(variable, value)
        arguments = ("convert", "ct", "s3://bucket/out/ct.zarr", "--root", str(root))
        running: list[subprocess.Popen[bytes]] = []

        def kill(connection: faulty.Connection, answer: faulty.Answer) -> None:
            if is_done:
                answer()
            running[0].kill()
            running[0].wait()
            connection.close()

        is_one = lambda asked: asked.kind == "PUT" and asked.path.endswith(f"ct.zarr/{name}")  # noqa: E731 - one line
        bucket.begin(faulty.always(kill, is_one))
        running.append(subprocess.Popen([SCRIPT, *arguments], env=os.environ, stderr=subprocess.DEVNULL))
        assert running[0].wait(60) < 0
        assert (RECEIPT in bucket.objects) is (is_done and name == "receipt.json")
        bucket.begin(lambda _asked: None)
        is_there = RECEIPT in bucket.objects
        assert command("verify", "s3://bucket/out/ct.zarr").status == (0 if is_there else 1)
        outcome = command(*arguments)
        assert outcome.status == 0
        assert outcome.stderr.startswith("exists" if is_there else "made")
        assert command("verify", "s3://bucket/out/ct.zarr").status == 0
