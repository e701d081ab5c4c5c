"""Cut an installed dependency layer down to what the product imports, and strip its machine code.

Usage: python trim.py FOLDER, where FOLDER is the target of pip --target. tests/aws/test_layers.py lists what
must still work afterwards.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Nobody imports these at run time. Licence texts and METADATA stay.
EVERYWHERE = (
    "**/__pycache__",
    "**/tests",
    "**/include",
    "**/*.pyi",
    "**/*.py[cx]",
    "**/*.px[di]",
    "**/*.pxd",
    "**/*.[acho]",
    "**/*.cc",
    "**/*.cpp",
    "**/*.hpp",
    "**/*.build",
    "**/*.cmake",
    "*.dist-info/RECORD",
    "*.dist-info/INSTALLER",
    "*.dist-info/REQUESTED",
    "bin",
    "share",
)
# The unused parts of each package; extension modules first, then what only they need.
UNUSED = (
    "PIL/_avif.*",  # the product writes only WebP, JPEG and PNG
    "PIL/_imagingcms.*",
    "PIL/_imagingtk.*",
    "numpy/f2py",
    "numpy/typing/mypy_plugin.py",
    "numpy/_pyinstaller",
    "pyarrow/src",
    "pyarrow/includes",
    "pyarrow/_cuda.*",
    "pyarrow/_dataset_orc.*",
    "pyarrow/_*_encryption.*",
    "pyarrow/_feather.*",
    "pyarrow/_flight.*",
    "pyarrow/_orc.*",
    "pyarrow/_pyarrow_cpp_tests.*",
    "pyarrow/_substrait.*",
    "pyarrow/_s3fs.*",  # obstore reads and writes objects
    "pyarrow/_azurefs.*",
    "pyarrow/_gcsfs.*",
    "pyarrow/_hdfs.*",
    "pydicom/cli",
    "pydicom/data/test_files",
    "pydicom/data/charset_files",
    "pydicom/data/palettes",
    "aws_lambda_powertools/event_handler/openapi/swagger_ui/*.js",
    "aws_lambda_powertools/event_handler/openapi/swagger_ui/*.css",
)
# imagecodecs brings a hundred codecs; `pixels.codecs` imports three of them (jpeg, jpeg2000, jpegls).
IMAGECODECS = (
    "__init__.py",
    "imagecodecs.py",
    "_shared",
    "_jpeg2k",
    "_jpeg8",
    "_jpegls",
    "licenses",
    "py.typed",
)
# Folders whose libraries serve only extension modules.
LIBRARIES = ("imagecodecs.libs", "numpy.libs", "pillow.libs", "pyarrow")
STRIPPERS = (
    *("llvm-strip", *(f"llvm-strip-{version}" for version in range(22, 13, -1))),
    "strip",
)


def main(folder: Path) -> None:
    """Trim and strip the contents of the folder."""
    before = size(folder)
    for pattern in (*EVERYWHERE, *UNUSED):
        for path in list(folder.glob(pattern)):
            remove(path)
    for path in list(folder.glob("imagecodecs/*")):
        if not path.name.startswith(IMAGECODECS):
            remove(path)
    for path in unlinked(folder):
        remove(path)
    trimmed = size(folder)
    how = strip(folder)
    sys.stdout.write(
        f"trimmed {before / 1e6:.0f} MB to {trimmed / 1e6:.0f} MB; {how}: {size(folder) / 1e6:.0f} MB\n"
    )


def remove(path: Path) -> None:
    """Remove a file or a folder, if an earlier pattern has not done so."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def size(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def unlinked(folder: Path) -> set[Path]:
    """Return the shared libraries that no extension module needs, directly or through another library.

    A needed library's name, with a zero at its end, is in the string table of its user.
    """
    libraries = {path for name in LIBRARIES for path in (folder / name).glob("lib[!.]*.so*")}
    waiting = [path for path in shared_objects(folder) if path not in libraries]
    while waiting:
        content = waiting.pop().read_bytes()
        needed = {path for path in libraries if path.name.encode() + b"\0" in content}
        libraries -= needed
        waiting += needed
    return libraries


def shared_objects(folder: Path) -> Iterator[Path]:
    """Yield every shared library and extension module below a folder."""
    for path in folder.rglob("*.so*"):
        with path.open("rb") as file:
            if file.read(4) == b"\x7fELF":
                yield path


def strip(folder: Path) -> str:
    """Strip symbols that the loader does not need, and return the name of the tool.

    GNU strip knows only its own processor's files, and misplaces segments of libraries edited by auditwheel,
    so we check every result; llvm-strip has neither weakness.
    """
    tool = next((found for name in STRIPPERS if (found := shutil.which(name))), None)
    if tool is None:
        return "neither llvm-strip nor strip is there, so nothing was stripped"
    unstripped = 0
    for path in shared_objects(folder):
        stripped = path.with_name(f"{path.name}.stripped")
        result = subprocess.run(  # noqa: S603 - a tool from PATH, on files of ours
            [tool, "--strip-unneeded", "-o", stripped, path], check=False, capture_output=True
        )
        if result.returncode == 0 and is_loadable(stripped):
            stripped.replace(path)
        else:
            stripped.unlink(missing_ok=True)
            unstripped += 1
    return f"stripped by {Path(tool).name}" + (f", save {unstripped} files it cannot" if unstripped else "")


def is_loadable(path: Path) -> bool:
    """Return True where every segment of a 64-bit little endian ELF file meets the loader's alignment.

    A PT_LOAD segment's offset and address must agree modulo its alignment.
    """
    content = path.read_bytes()
    start, width, count = (
        int.from_bytes(content[at : at + n], "little") for at, n in ((32, 8), (54, 2), (56, 2))
    )
    for header in range(start, start + width * count, width):
        offset, address, align = (
            int.from_bytes(content[header + at : header + at + 8], "little") for at in (8, 16, 48)
        )
        if content[header] == 1 and align > 1 and (offset - address) % align:
            return False
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]))
