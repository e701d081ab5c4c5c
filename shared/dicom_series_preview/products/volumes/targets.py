"""Where a volume goes: a place of its own, which it takes whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dicom_series_preview.base.files import write_atomically
from dicom_series_preview.products.volumes.formats.base import UnfinishedError, UnreadableError
from dicom_series_preview.products.volumes.formats.nifti import RECEIPT, sidecar_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from dicom_series_preview.products.volumes.formats.base import VolumeFormat

# No conversion takes so long: an older partial output was left by a killed process.
_LEFT_OVER_S = 24 * 3600
_PARTIAL = re.compile(r"\..+\.[0-9a-f]{12}\.partial")
_BESIDE = (".json", ".bval", ".bvec")


@dataclass(frozen=True, slots=True)
class Size:
    """How much an output holds.

    Attributes:
        bytes: Its bytes.
        files: Its files or objects.
    """

    bytes: int
    files: int


NOTHING = Size(0, 0)


class TakenError(Exception):
    """Another process has finished an output here since this one looked."""


class Target(Protocol):
    """The place of one volume."""

    @property
    def name(self) -> str:
        """The last part of its path: the name of the file or folder."""

    @property
    def shown(self) -> str:
        """Its path or URL."""

    @property
    def file(self) -> Path | None:
        """Its path, if it is on this machine."""

    def receipt(self, chosen: VolumeFormat) -> Mapping[str, Any] | None:
        """Return the receipt of the output that is there; None where nothing is.

        Raises:
            UnreadableError: Something is there that has no receipt.
            OutputError: The place cannot be read.
        """

    def size(self) -> Size:
        """Return how much the output that is there holds."""

    def partial(self) -> AbstractContextManager[Path]:
        """Make a folder for what is not finished; it is removed at the end."""

    def put(self, folder: Path, receipt: Mapping[str, Any], beside: Mapping[str, bytes]) -> Size:
        """Move what is finished to its place: what stands beside it first, the receipt last.

        Args:
            folder: The folder that `partial` made.
            receipt: The receipt.
            beside: Further files, by path below the target's folder.

        Raises:
            TakenError: Another process has put an output there meanwhile.
            OutputError: It cannot be written.
        """


class Outputs(Protocol):
    """The folder of many outputs."""

    @property
    def shown(self) -> str:
        """Its path or URL."""

    def target(self, name: str) -> Target:
        """Return the place of an output below it."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file below it, whole or not at all.

        Raises:
            OutputError: It cannot be written.
        """


@dataclass(frozen=True, slots=True)
class LocalOutputs:
    """A folder of this machine.

    Attributes:
        folder: Its path.
    """

    folder: Path

    @property
    def shown(self) -> str:
        """Its path."""
        return str(self.folder)

    def target(self, name: str) -> LocalTarget:
        """Return the place of an output below it."""
        return LocalTarget(self.folder / name, self.folder)

    def write(self, name: str, data: bytes) -> None:
        """Write a file below it; see `Outputs.write`."""
        _write(self.folder / name, data)


@dataclass(frozen=True, slots=True)
class LocalTarget:
    """A file or folder of this machine.

    Attributes:
        path: Its path.
        folder: The folder of all outputs.
    """

    path: Path
    folder: Path

    @property
    def name(self) -> str:
        """The file's or folder's name."""
        return self.path.name

    @property
    def shown(self) -> str:
        """Its path."""
        return str(self.path)

    @property
    def file(self) -> Path:
        """Its path."""
        return self.path

    def receipt(self, chosen: VolumeFormat) -> Mapping[str, Any] | None:
        """Return the receipt in the output that is there; see `Target.receipt`."""
        if chosen.name in ("nii", "nifti"):
            _check_beside(self.path)
        try:
            return chosen.read(self.path).receipt if os.path.lexists(self.path) else None
        except UnfinishedError:
            # A run of ours was killed between the file and its receipt.
            return None

    def size(self) -> Size:
        """Return the size of what is there."""
        return _size_of([self.path])

    @contextmanager
    def partial(self) -> Iterator[Path]:
        """Make a hidden folder beside the output; see `Target.partial`."""
        parent = self.path.parent
        parent.mkdir(parents=True, exist_ok=True)
        _remove_left_overs(parent)
        folder = parent / f".{self.name}.{uuid.uuid4().hex[:12]}.partial"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def put(self, folder: Path, _receipt: Mapping[str, Any], beside: Mapping[str, bytes]) -> Size:
        """Rename finished files to their place; see `Target.put`."""
        size = _size_of(folder.iterdir())
        for name, data in beside.items():
            _write(self.folder / name, data)
        with _locked(self.path.parent):
            _put_in_place(folder, self.path)
        return size


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time move files into a folder: a NIfTI and its sidecar stay a pair."""
    try:
        import fcntl  # noqa: PLC0415 - not on Windows
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _check_beside(path: Path) -> None:
    """Refuse a NIfTI whose sidecar's or tables' names are taken by something else.

    Raises:
        UnreadableError: They are another NIfTI's, or not ours.
    """
    sidecar = sidecar_of(path)
    other = sidecar.with_suffix(".nii" if path.suffix == ".gz" else ".nii.gz")
    if os.path.lexists(other):
        raise UnreadableError(f"{sidecar.name} is the sidecar of {other.name}")
    if os.path.lexists(path):
        return
    taken = [one for one in (sidecar.with_suffix(ending) for ending in _BESIDE) if os.path.lexists(one)]
    if not taken:
        return
    try:
        is_ours = RECEIPT in json.loads(sidecar.read_text("utf-8"))
    except (OSError, ValueError, TypeError):
        is_ours = False
    if not is_ours:
        raise UnreadableError(f"{taken[0].name} is no file of a volume")


def _write(path: Path, data: bytes) -> None:
    with suppress(OSError):  # writing reports it
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)


def _size_of(paths: Any) -> Size:  # noqa: ANN401 - an iterable of paths
    files = [one for path in paths for one in (path.rglob("*") if path.is_dir() else [path]) if one.is_file()]
    return Size(sum(one.stat().st_size for one in files), len(files))


def _remove_left_overs(parent: Path) -> None:
    oldest = time.time() - _LEFT_OVER_S
    with suppress(OSError):
        for one in parent.glob(".*.partial"):
            if _PARTIAL.fullmatch(one.name) and one.stat().st_mtime < oldest:
                shutil.rmtree(one, ignore_errors=True)


def _put_in_place(folder: Path, target: Path) -> None:
    """Move finished files to their place: the receipt last, and an older one away first."""
    for one in folder.rglob("*"):
        if one.is_file():
            _sync(one)
    main, sidecar = folder / target.name, folder / sidecar_of(target).name
    others = [one for one in folder.iterdir() if one not in (main, sidecar)]
    if sidecar.exists():
        sidecar_of(target).unlink(missing_ok=True)
        for extension in (".bval", ".bvec"):
            sidecar_of(target).with_suffix(extension).unlink(missing_ok=True)
    if target.is_dir() or (main.is_dir() and os.path.lexists(target)):
        # A folder is not replaced in one step: the old one goes into ours, to be removed with it.
        target.replace(folder / ".old")
    main.replace(target)
    for one in others:
        one.replace(target.parent / one.name)
    if sidecar.exists():
        sidecar.replace(sidecar_of(target))
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
