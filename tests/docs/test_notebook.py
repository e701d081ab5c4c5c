"""The notebook in `docs/` is run, cell by cell, in a kernel."""

import base64
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"
# In a process of its own: a kernel's client leaves sockets and tasks behind.
RUN = """
import json, sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
nbformat.validate(notebook)
NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
json.dump(notebook, sys.stdout)
"""


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The code cells after they have run, where nothing but a home folder is given."""
    home = tmp_path_factory.mktemp("home")
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "SYSTEMROOT") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN, NOTEBOOK],
        env={**kept, "HOME": str(home), "TMPDIR": str(home), "JUPYTER_PLATFORM_DIRS": "1"},
        cwd=home,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [cell for cell in json.loads(done.stdout)["cells"] if cell["cell_type"] == "code"]


def shown(cell: dict[str, Any]) -> str:
    """What a cell shows, as HTML where there is any, and what it prints."""
    texts = []
    for output in cell["outputs"]:
        data = output.get("data", {})
        texts.append(output.get("text", "") or data.get("text/html", "") or data.get("text/plain", ""))
    return "".join("".join(text) for text in texts)


def test_every_picture_of_the_notebook_is_shown(cells: list[dict[str, Any]]) -> None:
    """The three cells that end with a picture show one."""
    texts = [shown(cell) for cell in cells]
    found = [re.search(r"data:image/webp;base64,([^\"]+)", text) for text in texts]
    pictures = [Image.open(io.BytesIO(base64.b64decode(match[1]))) for match in found if match]
    assert [picture.size for picture in pictures] == [(512, 512), (768, 256), (384, 384)]
    assert all(picture.convert("L").getextrema()[1] > 100 for picture in pictures)


def test_every_cell_of_the_notebook_tells_what_it_says(cells: list[dict[str, Any]]) -> None:
    """No cell is silent or fails; table, header and error are there."""
    texts = [shown(cell) for cell in cells]
    assert all(texts)
    assert "1 requests" in texts[3]
    assert texts[4].count("PrimaryPosition") == 5
    assert "'CT'" in texts[5]
    assert "stack" in texts[6]


def test_the_notebook_is_kept_without_what_it_shows() -> None:
    """Its file has no outputs, so that nothing in it can be out of date."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
