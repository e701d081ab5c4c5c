"""Convert a planned volume into a file: whole, proved and with a receipt, or not at all."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.base.allocator import return_unused
from dicom_series_preview.base.errors import PreviewError
from dicom_series_preview.base.files import told_of
from dicom_series_preview.pixels.contrast.render import is_inverted
from dicom_series_preview.pixels.quality.rules import judge
from dicom_series_preview.pixels.quality.series import SeriesQuality
from dicom_series_preview.products.volumes.digest import CanonicalDigest
from dicom_series_preview.products.volumes.formats.base import UnreadableError, WriteOptions
from dicom_series_preview.products.volumes.proof import chosen_slices, proved
from dicom_series_preview.products.volumes.receipt import (
    Made,
    identity_of,
    is_same,
    receipt_of,
    sealed,
    series_uid_of,
)
from dicom_series_preview.products.volumes.refusal import Refusal
from dicom_series_preview.products.volumes.slabs import Reading, RefusedVolumeError, reader_of
from dicom_series_preview.products.volumes.targets import LocalTarget, Size, TakenError
from dicom_series_preview.products.volumes.values import DoesNotFitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from dicom_series_preview.base.settings import Limits
    from dicom_series_preview.pixels.quality.rules import SliceQuality
    from dicom_series_preview.pixels.quality.thresholds import Thresholds
    from dicom_series_preview.products.volumes.formats.base import VolumeFormat
    from dicom_series_preview.products.volumes.options import VolumeOptions
    from dicom_series_preview.products.volumes.plan import PlannedVolume, VolumesPlan
    from dicom_series_preview.products.volumes.targets import Target

# float32 holds every whole number up to here, and NPZ has no other type.
_FLOAT_EXACT = 2**24


@dataclass(frozen=True, slots=True)
class Converted:
    """A volume's output.

    Attributes:
        path: The file or folder; None of one that is not on this machine.
        place: Its path or URL.
        status: `made`, or `exists` where it was there already.
        receipt: Its receipt.
        size: How much it holds.
        seconds: By phase: `read` (fetched, decoded and written), `proof`, `put` (moved or uploaded).
    """

    path: Path | None
    place: str
    status: str
    receipt: Mapping[str, Any] = field(repr=False)
    size: Size
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finished:
    """A volume whose file is written and proved, but not in its place yet.

    Attributes:
        plan: The plan of its series.
        volume: The volume.
        reading: How it was read.
        receipt: Its receipt.
        path: Its file or folder, for now.
        is_proved: Slices of the file were compared with their source.
    """

    plan: VolumesPlan
    volume: PlannedVolume
    reading: Reading
    receipt: Mapping[str, Any]
    path: Path
    is_proved: bool


@dataclass(frozen=True, slots=True)
class Converter:
    """Converts volumes.

    Attributes:
        format: The format of the outputs.
        options: What volumes are made.
        write: How they are written.
        limits: The bounds of work.
        verify: How many slices of a finished file are compared with their source; None for all.
        overwrite: Replace what lies in an output's place, whatever it is.
        check: Raises to give up, as when nobody waits any more.
        progress: Called with the number of slices that were read.
        workers: Threads that decode.
        thresholds: Returns a modality's thresholds of quality; None to judge none.
        beside: Makes what stands beside an output: files by path below the folder of all outputs.
        fits: Refuses a volume that there is no room for here.
    """

    format: VolumeFormat
    options: VolumeOptions
    write: WriteOptions
    limits: Limits
    verify: int | None = None
    overwrite: bool = False
    check: Callable[[], None] = lambda: None
    progress: Callable[[int], None] = lambda _slices: None
    workers: int | None = None
    thresholds: Callable[[str], Thresholds] | None = None
    beside: Callable[[Finished], Mapping[str, bytes]] = lambda _finished: {}
    fits: Callable[[PlannedVolume], Refusal | None] = lambda _volume: None

    def convert(self, plan: VolumesPlan, volume: PlannedVolume, place: Path | Target) -> Converted:
        """Write a volume, prove it, and put it in its place.

        Raises:
            RefusedVolumeError: There is no output, for a reason; nothing of it is left.
            OutputError: The place of outputs cannot be read or written.
            StorageError: The storage fails beyond every retry.
        """
        target = LocalTarget(place, place.parent) if isinstance(place, Path) else place
        identity = identity_of(volume, self.options, self.write, self.format.name)
        judged = None if self.thresholds is None else self.thresholds(volume.modality).document()
        identity["quality_thresholds"] = judged
        there = None if self.overwrite else self._there(target, volume, identity)
        if there is not None:
            return there
        refusal = self.fits(volume)
        if refusal is not None:
            raise RefusedVolumeError(refusal)
        seconds: dict[str, float] = {}
        return_unused()
        try:
            with target.partial() as folder:
                path = folder / target.name
                with _timed(seconds, "read"):
                    reading, receipt = self._written(plan, volume, path, identity)
                with _timed(seconds, "proof"):
                    if self.verify != 0:
                        self._prove(path, volume, reading)
                with _timed(seconds, "put"):
                    finished = Finished(plan, volume, reading, receipt, path, self.verify != 0)
                    size = target.put(folder, receipt, self.beside(finished))
        except TakenError:
            return self._taken(target, volume, identity)
        except OSError as error:
            if isinstance(error, PreviewError):
                raise
            raise RefusedVolumeError(Refusal("output", f"{target.name}: {told_of(error)}")) from error
        return Converted(target.file, target.shown, "made", receipt, size, seconds)

    def _there(self, target: Target, volume: PlannedVolume, identity: Mapping[str, Any]) -> Converted | None:
        """Return the output that is there already, if it is of the same source and options.

        Raises:
            RefusedVolumeError: Something else lies there.
        """
        try:
            receipt = target.receipt(self.format)
        except UnreadableError as error:
            told = f"{target.name} or a file beside it is there and has no receipt of ours"
            problem = f"{told}; `overwrite` replaces it"
            raise RefusedVolumeError(Refusal("exists_other", problem)) from error
        if receipt is None:
            return None
        proved_slices = receipt["volume"].get("slices_proved", 0)
        is_proved = proved_slices >= len(chosen_slices(len(volume.slices), self.verify))
        if is_same(receipt, identity) and is_proved:
            return Converted(target.file, target.shown, "exists", receipt, target.size())
        there = receipt.get("series_instance_uid")
        if there != series_uid_of(volume):
            problem = f"{target.name} is there and holds another series, {there}; `overwrite` replaces it"
            raise RefusedVolumeError(Refusal("exists_other", problem))
        return None

    def _taken(self, target: Target, volume: PlannedVolume, identity: Mapping[str, Any]) -> Converted:
        """Return what another process has put there meanwhile, if it is the same.

        Raises:
            RefusedVolumeError: It is another.
        """
        found = self._there(target, volume, identity)
        if found is None:
            problem = (
                f"another process has just written {target.name} with other options or of another source"
            )
            raise RefusedVolumeError(Refusal("exists_other", f"{problem}; convert it again"))
        return found

    def _written(
        self, plan: VolumesPlan, volume: PlannedVolume, path: Path, identity: Mapping[str, Any]
    ) -> tuple[Reading, dict[str, Any]]:
        """Write the file in the first type that holds all values."""
        narrow = ""
        for dtype in map(np.dtype, volume.values.dtypes):
            reading = Reading(
                volume,
                reader_of(plan, self.limits, self.check, self.workers),
                dtype,
                judge=self._judge(volume),
                progress=self.progress,
            )
            if narrow:
                reading.warnings.append(
                    ("widened", f"{narrow} has values that {volume.values.dtype} cannot hold")
                )
            try:
                return reading, self._write_once(plan, volume, path, (reading, identity))
            except DoesNotFitError as error:
                narrow = error.name
                _remove(path)
        raise RefusedVolumeError(Refusal("overflow", f"{narrow} has values that no type of a volume holds"))

    def _write_once(
        self,
        plan: VolumesPlan,
        volume: PlannedVolume,
        path: Path,
        how: tuple[Reading, Mapping[str, Any]],
    ) -> dict[str, Any]:
        reading, identity = how
        place = volume.placement
        affine = None if place is None else place.affine
        writer = self.format.writer(path, volume, reading.dtype, self.write)
        try:
            with CanonicalDigest(volume.shape, reading.dtype, affine, path.parent) as digest:

                def write(slab: Any) -> None:  # noqa: ANN401 - a slab
                    writer.write(slab)
                    digest.add(slab)

                reading.feed(write)
                self._check_range(reading)
                _add_warnings(reading)
                order = self.format.order(affine, self.write.orient)
                proved_slices = len(chosen_slices(len(volume.slices), self.verify))
                made = Made(reading, order, digest.hexdigest(), proved_slices)
            receipt = receipt_of(plan, volume, made, identity)
            if self.thresholds is not None and reading.judge is not None:
                receipt["quality"] = _quality(reading, self.thresholds(volume.modality))
            receipt = sealed(receipt, writer.said())
            writer.finish(receipt)
        finally:
            writer.close()
        return receipt

    def _check_range(self, reading: Reading) -> None:
        """Refuse whole numbers that NPZ's float32 would round."""
        if self.format.name != "npz" or reading.dtype.kind not in "iu":
            return
        ends = [
            abs(end) for one in reading.measures.values() for end in (one.low, one.high) if end is not None
        ]
        if max(ends, default=0) > _FLOAT_EXACT:
            problem = (
                "it has whole values beyond 16,777,216, which NPZ's float32 would round; take nifti or zarr"
            )
            raise RefusedVolumeError(Refusal("overflow", problem))

    def _judge(
        self, volume: PlannedVolume
    ) -> Callable[[NDArray[Any], NDArray[np.bool_] | None], SliceQuality] | None:
        """Return the function that judges a slice; None where none is judged, or of colour."""
        if self.thresholds is None or volume.values.is_colour:
            return None
        item = volume.slices[0]
        is_shown_inverted = is_inverted(item.pixels, item.contrast) and volume.values.inverted is None
        thresholds = self.thresholds(volume.modality)

        def judged(values: NDArray[Any], padding: NDArray[np.bool_] | None) -> SliceQuality:
            return judge(values, padding, volume.modality, thresholds, inverted=is_shown_inverted)

        return judged

    def _prove(self, path: Path, volume: PlannedVolume, reading: Reading) -> None:
        try:
            problem = proved(self.format.read(path), volume, reading, self.verify)
        except UnreadableError as error:
            problem = Refusal("proof_failed", f"the file cannot be read back: {error}")
        if problem is not None:
            raise RefusedVolumeError(problem)


def _quality(reading: Reading, thresholds: Thresholds) -> dict[str, Any]:
    """Return what came of judging a volume's slices as JSON values; details of those with issues alone."""
    slices = [reading.qualities[number] for number in range(len(reading.volume.slices))]
    found = SeriesQuality.of(slices, thresholds)
    document = found.document()
    flagged = set(found.flagged)
    document["low_quality_details"] = [
        one for one in document["low_quality_details"] if one["index"] in flagged
    ]
    del document["qc_sample_indices"]
    return document


def _add_warnings(reading: Reading) -> None:
    """Add what only decoding shows."""
    if reading.lossy:
        many = f"{len(reading.lossy)} of its slices come from lossy codestreams"
        reading.warnings.append(("lossy_source", many))
    reading.warnings += [("codestream", text) for text in list(reading.remarks)[:10]]


def _remove(path: Path) -> None:
    for one in path.parent.iterdir():
        if one.is_dir():
            shutil.rmtree(one)
        else:
            one.unlink()


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[phase] = round(time.perf_counter() - start, 3)
