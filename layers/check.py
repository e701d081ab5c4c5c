"""Check the sizes of built layers, and the licences of their parts.

Usage:
    python check.py sizes LAYER... --functions FOLDER [--limit MB]
        what AWS Lambda unpacks for the largest function
    python check.py licences FOLDER
        packages, and the libraries they bring along
"""

from __future__ import annotations

import re
import sys
import zlib
from collections import Counter
from email.parser import HeaderParser
from pathlib import Path

# AWS Lambda's limit is 250 MiB for all layers and the function; the rest is room for the next versions.
LIMIT_BYTES = 200 * 10**6
LISTED_BYTES = 10**6
# GPL, LGPL and AGPL alike: none is needed, so a person, not a resolver, decides about the first to appear.
REFUSED = re.compile(r"\b[AL]?GPL|GNU .*General Public", re.IGNORECASE)
# Shared libraries inside wheels have no metadata of their own.
LIBRARIES = {
    "libXau": "MIT",
    "libarrow": "Apache-2.0",
    "libbrotli": "MIT",
    "libcharls": "BSD-3-Clause",
    "libcrc32c": "BSD-3-Clause",
    # It has two licences; this one is not the GPL.
    "libfreetype": "FTL",
    "libharfbuzz": "MIT-Modern-Variant",
    "libjpeg": "IJG AND BSD-3-Clause AND Zlib",
    "liblcms2": "MIT",
    "liblzma": "0BSD",
    "libopenjp2": "BSD-2-Clause",
    "libparquet": "Apache-2.0",
    "libpng16": "libpng-2.0",
    "libscipy_openblas": "BSD-3-Clause; with GCC's runtime, under its Runtime Library Exception",
    "libsharpyuv": "BSD-3-Clause",
    "libtiff": "libtiff",
    "libwebp": "BSD-3-Clause",
    "libxcb": "MIT",
    "libzstd": "BSD-3-Clause",
}


def sizes(layers: list[Path], functions: Path, limit_bytes: int = LIMIT_BYTES) -> list[str]:
    """List the large parts, and report those that are too large."""
    unzipped: Counter[str] = Counter()
    zipped: Counter[str] = Counter()
    for layer in layers:
        for path in layer.rglob("*"):
            if path.is_file():
                name = part(path.relative_to(layer))
                unzipped[name] += path.stat().st_size
                zipped[name] += len(zlib.compress(path.read_bytes()))
    biggest = max(
        (sum(path.stat().st_size for path in function.rglob("*") if path.is_file()), function.name)
        for function in functions.iterdir()
        if function.is_dir()
    )
    total = unzipped.total() + biggest[0]
    for name, count in unzipped.most_common():
        if count >= LISTED_BYTES:
            line(f"{count / 1e6:8.1f} MB  {zipped[name] / 1e6:6.1f} MB zipped  {name}")
    line(f"{unzipped.total() / 1e6:8.1f} MB  {zipped.total() / 1e6:6.1f} MB zipped  {len(layers)} layers")
    line(f"{biggest[0] / 1e6:8.3f} MB  the largest function, {biggest[1]}")
    line(f"{total / 1e6:8.1f} MB  in all, of {limit_bytes / 1e6:.0f} MB")
    if total <= limit_bytes:
        return []
    largest = ", ".join(f"{name} {count / 1e6:.0f} MB" for name, count in unzipped.most_common(3))
    return [f"{total / 1e6:.1f} MB are more than {limit_bytes / 1e6:.0f} MB; the largest: {largest}"]


def part(path: Path) -> str:
    """Return the package of a layer's file: its folder's or module's name."""
    name = path.parts[1] if path.parts[0] == "python" and len(path.parts) > 1 else path.parts[0]
    return re.sub(r"\.(libs|py|cpython-.*\.so|abi3\.so)$|-[^-]*\.dist-info$", "", name)


def licences(folder: Path) -> list[str]:
    """List every part's licence, and report those that are not allowed."""
    wrong = []
    for metadata in sorted(folder.glob("*.dist-info/METADATA")):
        headers = HeaderParser().parsestr(metadata.read_text(encoding="utf-8"))
        stated = [headers["License-Expression"] or headers["License"] or ""]
        stated += [c for c in headers.get_all("Classifier", []) if c.startswith("License")]
        # If the field has a licence's whole text, its name comes first.
        said = "; ".join(dict.fromkeys(text.strip().split("\n")[0] for text in stated if text.strip()))
        line(f"{headers['Name']} {headers['Version']}: {said}")
        if not said or REFUSED.search(said):
            wrong.append(f"{headers['Name']} is under {said or 'no licence that it states'}")
    for library in sorted(folder.glob("*/lib[!.]*.so*")):
        licence = next((text for name, text in LIBRARIES.items() if library.name.startswith(name)), "")
        line(f"{library.relative_to(folder)}: {licence}")
        if not licence or REFUSED.search(licence):
            wrong.append(
                f"{library.relative_to(folder)} is under {licence or 'a licence that check.py does not know'}"
            )
    return wrong


def line(text: str) -> None:
    """Print one line."""
    sys.stdout.write(f"{text}\n")


def main(arguments: list[str]) -> None:
    """Run a check; exit with status 1 and the reasons when it fails."""
    match arguments:
        case ["sizes", *layers, "--functions", functions] if layers:
            wrong = sizes([Path(layer) for layer in layers], Path(functions))
        case ["sizes", *layers, "--functions", functions, "--limit", limit] if layers:
            wrong = sizes([Path(layer) for layer in layers], Path(functions), int(limit) * 10**6)
        case ["licences", folder]:
            wrong = licences(Path(folder))
        case _:
            sys.exit(__doc__)
    if wrong:
        sys.exit("\n".join(f"layers: {text}" for text in wrong))


if __name__ == "__main__":
    main(sys.argv[1:])
