"""Stacks for tests of their facts and dimensions, and pictures along them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydicom import Dataset

import make_dicom as make
from dicom_series_preview.archive.catalogue.facts import StackFacts, facts_of
from dicom_series_preview.archive.index.build import build
from dicom_series_preview.archive.index.index import Index
from indexing import PROVENANCE, index_of, readable_records, series


def facts(*sources: Dataset) -> StackFacts:
    """The facts of the main stack of some data sets."""
    return facts_of(index_of(series(*sources)), 0)


def real_index(folder: Path) -> Index:
    """The index of a folder of real files."""
    return Index(build(readable_records(folder)[0], PROVENANCE))


def at(locations: int, *variants: Mapping[str, Any] | Callable[[Dataset], Any]) -> list[Dataset]:
    """A stack with an image of each variant at each location, 3 mm apart, numbered variant after variant.

    Args:
        locations: How many locations.
        variants: The elements that a variant has by keyword, or a function that adds them.
    """
    made = []
    for variant in variants:
        for location in range(locations):
            elements = variant if isinstance(variant, Mapping) else {}
            place = [0.0, 0.0, 3.0 * location]
            one = make.image(len(made) + 1, **{"ImagePositionPatient": place, **elements})
            if not isinstance(variant, Mapping):
                variant(one)
            made.append(one)
    return made


def private(tag: int, creator: str, vr: str, value: Any) -> Callable[[Dataset], None]:
    """What adds a private element to a data set."""

    def add(target: Dataset) -> None:
        target.private_block(tag >> 16, creator, create=True).add_new(tag & 0xFF, vr, value)

    return add


def frames(*groups: Dataset, **elements: Any) -> Dataset:
    """An enhanced object of axial frames."""
    return make.enhanced(groups, make.orientation_group(), **elements)


def frame(z: float, **macros: Any) -> Dataset:
    """A frame's functional groups, at a height in mm."""
    return make.position_group(0, 0, z, **macros)
