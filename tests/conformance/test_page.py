import subprocess
import sys
from pathlib import Path

from conformance import gallery

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_what_a_fresh_run_gives():
    """docs/conformance.md reports today's results; its part about real files wherever they are there."""
    done = subprocess.run(
        [sys.executable, "tests/conformance/page.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_gallery_stands_alone():
    """The page asks no one for anything, and text of a file cannot become markup."""
    source = gallery.Source("odd", "odd/<b>", ("odd/<b>",))
    text = gallery.page([gallery.Entry(source, "odd/<b>", failure="<script>")])
    assert "&lt;b&gt;" in text
    assert "&lt;script&gt;" in text
    assert "http" not in text
