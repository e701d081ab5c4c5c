"""Collect the licences and notices of a dependency layer in one file.

Usage: python notices.py FOLDER

FOLDER is the target of pip --target. The file is THIRD_PARTY_NOTICES.txt in it. For a wheel without a licence
text, the text comes from layers/licences/NAME.txt; if that is missing too, the build fails.
"""

from __future__ import annotations

import json
import sys
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

FILE_NAME = "THIRD_PARTY_NOTICES.txt"
# The beginnings of such files' names in wheels.
STARTS = ("licen", "notice", "copying", "authors")
OURS = Path(__file__).with_name("licences")
RULE = "=" * 80


def main(folder: Path) -> None:
    """Write the file; exit with status 1 if a licence's text is missing."""
    parts = []
    for metadata in sorted(folder.glob("*.dist-info/METADATA")):
        headers = HeaderParser().parsestr(metadata.read_text(encoding="utf-8"))
        texts = list(licence_texts(metadata.parent)) or list(kept_texts(headers["Name"]))
        if not texts:
            name = headers["Name"]
            sys.exit(f"layers: {name} brings no licence text; put it into licences/{name}.txt")
        bundled = sorted(set(components(metadata.parent)))
        if bundled:
            texts.append("It contains, under these licences:\n\n" + "\n".join(bundled))
        heading = f"{headers['Name']} {headers['Version']}: {stated(headers)}"
        parts.append("\n\n".join([f"{RULE}\n{heading}\n{RULE}", *texts]))
    # Codecs inside packages, each with its own text.
    for path in sorted(folder.glob("*/licenses/*")):
        if path.is_file() and ".dist-info" not in path.parts[-3]:
            heading = f"In {path.parts[-3]}: {path.stem}"
            parts.append(f"{RULE}\n{heading}\n{RULE}\n\n{read(path)}")
    (folder / FILE_NAME).write_text("\n\n\n".join(parts) + "\n", encoding="utf-8")


def licence_texts(folder: Path) -> Iterator[str]:
    """Yield the licence files of a package."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name.lower().startswith(STARTS):
            yield read(path)


def kept_texts(name: str) -> Iterator[str]:
    """Yield the text stored beside this script, if the package has none."""
    path = OURS / f"{name.lower()}.txt"
    if path.is_file():
        yield read(path)


def components(folder: Path) -> Iterator[str]:
    """Yield the components linked into a package, from its bill of materials (CycloneDX)."""
    for path in folder.glob("sboms/*.json"):
        for part in json.loads(path.read_text(encoding="utf-8")).get("components", []):
            licences = [
                found.get("expression") or found["license"].get("id") or found["license"]["name"]
                for found in part.get("licenses", [])
            ]
            yield f"{part['name']} {part.get('version', '')}: {', '.join(licences) or 'not stated'}"


def stated(headers: Message) -> str:
    """Return the licence that a package states, in one line."""
    known = [c.rpartition(" :: ")[2] for c in headers.get_all("Classifier", []) if c.startswith("License")]
    said = headers["License-Expression"] or headers["License"] or ", ".join(known)
    return str(said).strip().split("\n")[0]


def read(path: Path) -> str:
    """Read a text, whatever its encoding."""
    return path.read_text(encoding="utf-8", errors="replace").strip()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
