"""Find the volumes below a folder by their receipts, and what became of the others."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.base.errors import Advice, RequestError
from dicom_series_preview.products.volumes.formats.base import UnreadableError, layout_of
from dicom_series_preview.products.volumes.formats.table import format_of_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dicom_series_preview.products.volumes.formats.base import VolumeFormat

_MODES = ("made", "exists", "refused", "failed")


@dataclass(frozen=True, slots=True)
class Output:
    """A volume's file or folder, and what its receipt says.

    Attributes:
        name: Its path below the folder, with `/`.
        path: Its path.
        format: Its format.
        receipt: Its receipt; empty where there is none that can be read.
        problem: Why it is none, in one line; else empty.
        seconds: Spent on it by phase, as far as known.
        series: What its series is called, where the outcomes of a run say so; else empty.
    """

    name: str
    path: Path
    format: VolumeFormat = field(repr=False)
    receipt: Mapping[str, Any] = field(default_factory=dict, repr=False)
    problem: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    series: str = ""

    @property
    def series_names(self) -> list[str]:
        """The names that its series may have below a root, the likeliest first.

        A receipt names no folder, as folders can name patients. A run's outputs are called as their series.
        """
        _, extension = format_of_path(self.name)
        stem = self.name[: -len(extension)].removesuffix(str(self.receipt["volume"]["name"]))
        parts = stem.split("/")
        tails = ["/".join(parts[first:]) for first in range(len(parts))]
        uid = self.receipt.get("series_instance_uid")
        names = [self.series, *tails, uid if isinstance(uid, str) else ""]
        return list(dict.fromkeys(filter(None, names)))


@dataclass(frozen=True, slots=True)
class NoVolume:
    """A series, or a part of one, of which there is no volume.

    Attributes:
        status: `refused` or `failed`.
        series: What the series is called.
        part: Which part of it; empty where it is all.
        code: The kind of reason; `failed` of what is no refusal.
        problem: The reason in one line.
    """

    status: str
    series: str
    part: str
    code: str
    problem: str


@dataclass(frozen=True, slots=True)
class Found:
    """A run: its volumes, and what is none.

    Attributes:
        outputs: By name.
        others: In the order of the outcomes.
        localizers: Slices of localizers that were left out; None where nobody said.
        derived: Slices of derived stacks that were left out, likewise.
    """

    outputs: tuple[Output, ...]
    others: tuple[NoVolume, ...] = ()
    localizers: int | None = None
    derived: int | None = None

    @property
    def seed(self) -> str:
        """A number that is this run's: the same run has the same."""
        digest = hashlib.sha256()
        for one in self.outputs:
            made = one.receipt.get("volume", {}).get("slices_sha256", "")
            digest.update(repr((one.name, made)).encode())
        return digest.hexdigest()

    @property
    def refusals(self) -> list[tuple[str, int]]:
        """How many there are of each kind of reason, the most frequent first."""
        counts = Counter(one.code for one in self.others)
        return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def find_outputs(folder: Path) -> Iterator[Output]:
    """Yield the volumes of all formats below a folder, by name.

    Raises:
        OSError: The folder cannot be listed.
    """
    for path in sorted(_candidates(folder), key=lambda path: path.relative_to(folder).as_posix()):
        chosen, _ = format_of_path(path.name)
        # What is no UTF-8 on the disk is none in a page.
        name = path.relative_to(folder).as_posix().encode("utf-8", "backslashreplace").decode()
        one = Output(name, path, chosen)
        try:
            receipt = chosen.read(path).receipt
            check_receipt(receipt)
        except UnreadableError as error:
            # A page that is passed on tells nothing of the machine's folders.
            yield replace(one, problem=str(error).replace(f"{path.parent}/", ""))
        except OSError as error:
            yield replace(one, problem=f"it cannot be read: {(error.strerror or 'error').lower()}")
        else:
            yield replace(one, receipt=receipt)


def _candidates(folder: Path) -> Iterator[Path]:
    """Yield the paths below a folder that have an extension of a format; not what is half done."""

    def failed(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(folder, onerror=failed):
        inner = [name for name in folders if _is_output(name)]
        folders[:] = sorted(name for name in folders if name not in inner and not name.startswith("."))
        yield from (Path(parent, name) for name in (*inner, *files) if _is_output(name))


def _is_output(name: str) -> bool:
    if name.startswith("."):
        return False
    try:
        format_of_path(name)
    except RequestError:
        return False
    return True


def check_receipt(receipt: Any) -> None:  # noqa: ANN401 - what a file holds
    """Refuse a receipt that lacks what a report tells, or has it in other types.

    Raises:
        UnreadableError: It is none of this program.
    """
    shape, _ = layout_of(receipt)
    try:
        volume = receipt["volume"]
        np.dtype(str(volume["dtype"]))
        affine = volume["native_affine_ras_mm"]
        is_sound = affine is None or np.array(affine, np.float64).shape == (4, 4)
        numbers = [volume[name] for name in ("min", "max", "largest_deviation_mm", "tilt_deg")]
        is_sound &= all(
            one is None or (isinstance(one, int | float) and math.isfinite(one)) for one in numbers
        )
        is_sound &= (volume["spacing_mm"] is None) == (affine is None)
        is_sound &= affine is None or np.array(volume["spacing_mm"], np.float64).shape == (3,)
        is_sound &= math.prod(volume["dims_xyzt"]) == math.prod(shape[:4])
        is_sound &= isinstance(receipt["options"], dict) and isinstance(receipt["source"]["digest"], str)
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableError("its receipt lacks what a report tells") from error
    if not is_sound:
        raise UnreadableError("its receipt has values that no volume has")


def with_outcomes(outputs: Sequence[Output], outcomes: Iterable[Mapping[str, Any]]) -> Found:
    """Join outputs and what `convert --report` wrote of a run.

    Raises:
        KeyError: It is no such document; likewise TypeError, ValueError, AttributeError.
    """
    outputs, outcomes = list(outputs), list(outcomes)
    if not outcomes:
        return Found(tuple(outputs))
    others: list[NoVolume] = []
    localizers = derived = 0
    for series in outcomes:
        name = str(series["series"])
        if "volumes" not in series:
            others.append(NoVolume("failed", name, "", "failed", str(series["error"])))
            continue
        localizers += int(series["localizers_skipped"])
        derived += int(series["derived_skipped"])
        for one in series["volumes"]:
            status, part = str(one["status"]), str(one["part"])
            if status not in _MODES:
                raise ValueError(status)
            if status in ("refused", "failed"):
                problem = Advice(str(one["problem"])).at_command_line
                others.append(NoVolume(status, name, part, str(one["code"]), problem))
                continue
            number = _number_of(outputs, str(one["path"]))
            if number is None:
                gone = f"its output {Path(str(one['path'])).name} is not in this folder"
                others.append(NoVolume("failed", name, part, "missing", gone))
            else:
                seconds = {str(phase): float(spent) for phase, spent in one.get("seconds", {}).items()}
                outputs[number] = replace(outputs[number], seconds=seconds, series=name)
    return Found(tuple(outputs), tuple(others), localizers, derived)


def _number_of(outputs: Sequence[Output], path: str) -> int | None:
    """Return the output whose path ends like one that was written, maybe on another machine."""
    written = path.replace("\\", "/")
    ends = [
        number
        for number, one in enumerate(outputs)
        if written == one.name or written.endswith(f"/{one.name}")
    ]
    return max(ends, key=lambda number: len(outputs[number].name), default=None)
