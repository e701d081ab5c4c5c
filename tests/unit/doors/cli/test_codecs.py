import json
import os
import pty
import subprocess
import sys
from dataclasses import asdict

import pytest

from dicom_series_preview.pixels.codecs.registry import codecs

PROGRAM = [sys.executable, "-m", "dicom_series_preview", "codecs"]


def test_codecs_as_columns():
    """Away from a terminal each transfer syntax is a line of aligned columns, with nothing else around."""
    done = subprocess.run(PROGRAM, capture_output=True, text=True, check=True)
    heading, *lines = done.stdout.splitlines()
    starts = [heading.index(name) for name in ("Transfer syntax UID", "Name", "Decoder", "Version")]
    found = [[line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)] for line in lines]
    assert found == [[codec.uid, codec.name, codec.decoder, codec.version] for codec in codecs()]
    assert not done.stderr


def test_codecs_as_json():
    """`--json` is the list, for programs."""
    done = subprocess.run([*PROGRAM, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [asdict(codec) for codec in codecs()]


@pytest.mark.parametrize("columns", ["60", "90", "200"])
def test_codecs_on_a_terminal(columns):
    """On a terminal it is a table, whose UIDs are whole however narrow it is."""
    master, slave = pty.openpty()
    environment = {**os.environ, "COLUMNS": columns, "TERM": "xterm"}
    done = subprocess.Popen(PROGRAM, stdout=slave, stderr=slave, stdin=slave, env=environment)
    os.close(slave)
    shown = b""
    try:
        while part := os.read(master, 65536):
            shown += part
    except OSError:  # what a terminal answers when the program has ended
        pass
    finally:
        os.close(master)
    assert done.wait() == 0
    assert "━" in shown.decode()
    assert all(codec.uid in shown.decode() for codec in codecs())
