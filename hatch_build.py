"""What a package has otherwise than the repository: links that work on its page, and no .gitignore."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

README = "README.md"
PICTURES = "https://raw.githubusercontent.com/dicom-series-preview/dicom-series-preview/main/"
FILES = "https://github.com/dicom-series-preview/dicom-series-preview/blob/main/"


def absolute(text: str) -> str:
    """The text with its links to the repository's files as URLs."""
    text = re.sub(r"(!\[[^\]]*\]\()(?![a-z]+:)", rf"\1{PICTURES}", text)
    return re.sub(r"(?<!!)(\[[^\]]*\]\()(?![a-z]+:|#)", rf"\1{FILES}", text)


class Readme(MetadataHookInterface):
    """Gives the package its description."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the readme."""
        text = Path(self.root, README).read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute(text)}


class WithoutIgnored(BuildHookInterface[Any]):
    """Leaves .gitignore out of the source distribution, to which hatchling adds it unasked."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's
        """Look through what is added."""
        included = build_data.get("force_include", {})
        for path in [path for path in included if Path(path).name == ".gitignore"]:
            del included[path]
