"""What is said where an optional package is missing, or broken."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""
FRAME = """
from dicom_series_preview.pixels.codecs.frame import decode_frame
from dicom_series_preview.base.errors import PreviewError
from dicom_series_preview.base.image import PixelDescription
pixels = PixelDescription("1.2.840.10008.1.2.4.92", 8, 8, bits_allocated=16, bits_stored=12, high_bit=11)
try:
    decode_frame(b"x", pixels)
except PreviewError as error:
    print(error)
"""
TABLE = """
from pathlib import Path
from dicom_series_preview import Series
from dicom_sample import write_sample
folder = write_sample(Path("sample"), slices=2)
table = Series(folder.name, root="sample", cache=False).table
try:
    table.to_pandas()
except ModuleNotFoundError as error:
    print(error)
"""


def printed(code: str, folder: Path) -> str:
    """What a program prints that is run in a folder, from which it may import."""
    path = os.pathsep.join([str(folder), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_without_gdcm_one_line_says_what_brings_it(tmp_path: Path) -> None:
    """A syntax that only GDCM decodes is refused with the name of its package."""
    code = "import importlib.util as u; found = u.find_spec\n"
    code += "u.find_spec = lambda name, *more: None if name == 'gdcm' else found(name, *more)\n"
    (line,) = printed(code + FRAME, tmp_path).splitlines()
    assert "pip install python-gdcm" in line


def test_a_gdcm_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    """Where it is installed and one of its libraries is not there, one line says so, and no traceback."""
    (tmp_path / "gdcm.py").write_text("raise ImportError('libgdcmCommon.so.3.0: no such file')\n")
    (line,) = printed(FRAME, tmp_path).splitlines()
    assert line.endswith("python-gdcm is installed and cannot be loaded; install it anew")


def test_without_pandas_the_table_says_so(tmp_path: Path) -> None:
    """`table.to_pandas()` names pandas in one line; nothing else asks for it."""
    (line,) = printed(HIDE.format(hidden=("pandas",)) + TABLE, tmp_path).splitlines()
    assert line == "No module named 'pandas'"


HIDE_CATALOGUE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        ours = "dicom_series_preview.archive.catalogue."
        if name.partition(".")[0] in ("deltalake", "arro3") or name in [
            ours + "table", ours + "update", ours + "rows"
        ]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
from pathlib import Path
from dicom_sample import write_sample
folder = write_sample(Path("sample"), slices=2)
"""
COMMANDS = """
from dicom_series_preview.__main__ import main
where = ["--root", "sample", "--cache-dir", "cache"]
for number, command in enumerate((
    ["build-index", folder.name],
    ["mosaic", folder.name, "a.webp"],
    ["get-image", folder.name, "b.webp", "--position", "0.5"],
    ["contrast-mosaic", folder.name, "c.webp", "--position", "0.5", "--contrast", "lung"],
    ["get-index", folder.name],
)):
    assert main([*command, *where]) == 0, command
"""
NOTEBOOK = """
from dicom_series_preview import Series
series = Series(folder.name, root="sample", cache_dir="cache")
series.mosaic()
series.image(0.5)
series.contrast_mosaic("lung", position=0.5)
"""
DOORS = """
from importlib import import_module
for name in ("aws.http_door", "aws.sqs_door", "aws.batch_door", "server.serving"):
    import_module(f"dicom_series_preview.doors.{name}")
"""


@pytest.mark.parametrize("code", [COMMANDS, NOTEBOOK, DOORS], ids=["commands", "Python", "servers"])
def test_pictures_do_without_the_catalogues_library(code: str, tmp_path: Path) -> None:
    """No picture loads Delta Lake, nor what writes the catalogue: Lambda's picture functions have neither."""
    printed(HIDE_CATALOGUE + code, tmp_path)
