"""Series whose voxels and places are known, what becomes of them, and files as others read them.

Every slice has more columns than rows and pixels wider than high or the other way round, so that an array or
a matrix that is turned around differs.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import zarr
from numpy.typing import NDArray
from pydicom import Dataset
from zarr.core.buffer import cpu
from zarr.storage import LocalStore, MemoryStore, ZipStore

import make_dicom as make
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.archive.opened import OpenedSeries
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.products.volumes.convert import Converter
from dicom_series_preview.products.volumes.formats.base import VolumeFormat, WriteOptions
from dicom_series_preview.products.volumes.formats.table import format_of_path
from dicom_series_preview.products.volumes.options import VolumeOptions
from dicom_series_preview.products.volumes.plan import PlannedVolume, VolumesPlan, plan_volumes
from dicom_series_preview.products.volumes.series import SeriesOutcome, VolumeOutcome, convert_series
from dicom_series_preview.sources.storage.base import Storage
from dicom_series_preview.sources.storage.memory import MemoryStorage

EXTENSIONS = (".zarr", ".zarr.zip", ".sqlite", ".nii", ".nii.gz", ".npz")
"""One of each format."""
ORIGIN = (-31.5, -42.25, 17.0)
SPACING = (0.8, 0.6)
"""PixelSpacing: between rows, between columns."""
STEP = (0.0, 0.0, 3.0)
COUNT, ROWS, COLUMNS = 4, 5, 7
FLIPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def above(mm: float) -> tuple[float, float, float]:
    """The place so far above the usual origin."""
    return (*ORIGIN[:2], ORIGIN[2] + mm)


def ramp(count: int = COUNT, rows: int = ROWS, columns: int = COLUMNS, dtype: Any = "<u2") -> NDArray[Any]:
    """Values (z, rows, columns), no two alike."""
    return np.arange(count * rows * columns).reshape(count, rows, columns).astype(dtype)


def image(number: int, values: NDArray[Any], **elements: Any) -> Dataset:
    """An MR slice of some values, described as their type is, without a rescale."""
    kind = values.dtype
    bits = kind.itemsize * 8
    return make.image(
        number,
        **{
            "SOPClassUID": make.MR_IMAGE,
            "Modality": "MR",
            "Rows": values.shape[0],
            "Columns": values.shape[1],
            "PixelSpacing": list(SPACING),
            "FrameOfReferenceUID": f"{make.SERIES_UID}.77",
            "RescaleSlope": None,
            "RescaleIntercept": None,
            "BitsAllocated": bits,
            "BitsStored": bits,
            "HighBit": bits - 1,
            "PixelRepresentation": int(kind.kind == "i"),
            "PixelData": np.ascontiguousarray(values).tobytes() + b"\0" * (values.nbytes % 2),
            **elements,
        },
    )


def stacked(
    values: NDArray[Any],
    *,
    cosines: Sequence[float] = make.AXIAL,
    origin: Sequence[float] = ORIGIN,
    step: Sequence[float] = STEP,
    first: int = 1,
    each: Callable[[int], Mapping[str, Any]] = lambda _index: {},
    **elements: Any,
) -> list[Dataset]:
    """Slices of (z, rows, columns) values that follow each other by a step.

    Args:
        values: The values.
        cosines: ImageOrientationPatient.
        origin: The first slice's ImagePositionPatient.
        step: From one position to the next, mm.
        first: The first slice's InstanceNumber.
        each: Elements of the slice with an index.
        elements: Elements of all.
    """
    return [
        image(
            first + index,
            plane,
            **{
                "ImagePositionPatient": (np.array(origin) + index * np.array(step)).tolist(),
                "ImageOrientationPatient": list(cosines),
                **elements,
                **each(index),
            },
        )
        for index, plane in enumerate(values)
    ]


def renumbered(sources: list[Dataset], numbers: list[int | None]) -> list[Dataset]:
    """Slices with other InstanceNumbers."""
    for source, number in zip(sources, numbers, strict=True):
        if number is None:
            del source.InstanceNumber
        else:
            source.InstanceNumber = number
    return sources


def told_apart(
    elements: list[dict[str, Any]], *, by_location: bool, numbered: bool = True
) -> tuple[list[NDArray[Any]], list[Dataset]]:
    """Some volumes at the same locations, and their slices, numbered location by location or one by one."""
    arrays = [ramp() + 1000 * number for number in range(len(elements))]
    sources: list[Dataset] = []
    for t, (values, more) in enumerate(zip(arrays, elements, strict=True)):
        made = stacked(values, first=1 + t * COUNT, **more)
        if by_location:
            made = renumbered(made, [z * len(elements) + t + 1 for z in range(COUNT)])
        sources += made if numbered else renumbered(made, [None] * COUNT)
    return arrays, sources


def diffusion(b: float, direction: tuple[float, float, float] | None) -> dict[str, Any]:
    """The elements of one diffusion volume."""
    made: dict[str, Any] = {"DiffusionBValue": b}
    return made if direction is None else {**made, "DiffusionGradientOrientation": list(direction)}


def affine_of(
    cosines: Sequence[float] = make.AXIAL,
    origin: Sequence[float] = ORIGIN,
    step: Sequence[float] = STEP,
    spacing: Sequence[float] = SPACING,
) -> NDArray[np.float64]:
    """The matrix from (column, row, slice) to RAS mm that PS3.3 C.7.6.2.1.1 gives."""
    affine = np.eye(4)
    affine[:3, 0] = np.array(cosines[:3]) * spacing[1]
    affine[:3, 1] = np.array(cosines[3:]) * spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = origin
    return FLIPS @ affine


def objects_of(sources: Iterable[Dataset], syntax: str = make.EXPLICIT) -> dict[str, bytes]:
    """Data sets as objects, named so that the order of names is not that of slices."""
    encoded = [make.encode(source, syntax) for source in sources]
    return {f"{hashlib.sha256(b'%d' % i).hexdigest()[:12]}.dcm": data for i, data in enumerate(encoded)}


@dataclass
class Bench:
    """A series in memory, and a folder for its volumes.

    Attributes:
        folder: Where outputs go.
        objects: The series' objects.
        limits: The bounds of work.
        wrap: Puts something between the product and the storage.
    """

    folder: Path
    objects: dict[str, bytes] = field(repr=False)
    limits: Limits = field(default_factory=Limits)
    wrap: Callable[[Storage], Storage] = lambda storage: storage

    def __post_init__(self) -> None:
        self.memory = MemoryStorage({f"S/{name}": data for name, data in self.objects.items()})
        self.storage = self.wrap(self.memory)

    @classmethod
    def of(cls, folder: Path, sources: Iterable[Dataset], syntax: str = make.EXPLICIT) -> "Bench":
        """A series of some data sets."""
        return cls(folder, objects_of(sources, syntax))

    def open(self) -> OpenedSeries:
        """The series, opened."""
        return SeriesIndexer(self.storage, None, self.limits).open(SeriesName.parse("S"))

    def plan(self, *, single_images: bool = False, **options: Any) -> VolumesPlan:
        """The volumes of the series."""
        return plan_volumes(self.open(), VolumeOptions(**options), single_images=single_images)

    def converter(
        self,
        extension: str,
        *,
        write: WriteOptions | None = None,
        using: Callable[[VolumeFormat], VolumeFormat] = lambda one: one,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Converter:
        """A converter into the format of an extension."""
        asked = VolumeOptions(**dict(options or {}))
        write = write or WriteOptions(asked.orient)
        return Converter(using(format_of_path(f"x{extension}")[0]), asked, write, self.limits, **more)

    def convert(self, extension: str, stem: str = "v", **how: Any) -> SeriesOutcome:
        """Convert the series into `stem` + suffix + extension; see `converter`."""
        self.folder.mkdir(parents=True, exist_ok=True)

        def place(_plan: VolumesPlan, volume: PlannedVolume) -> Path:
            return self.folder / f"{stem}{volume.suffix}{extension}"

        return convert_series(lambda _again: self.open(), self.converter(extension, **how), place)

    def one(self, extension: str, stem: str = "v", **how: Any) -> VolumeOutcome:
        """The one outcome of a conversion."""
        (found,) = self.convert(extension, stem, **how).volumes
        return found

    def written(self) -> list[str]:
        """What lies in the folder, the hidden included."""
        return sorted(one.relative_to(self.folder).as_posix() for one in self.folder.rglob("*"))


def only(plan: VolumesPlan) -> PlannedVolume:
    """The one volume of a plan without refusals."""
    assert not plan.refused, plan.refused
    (found,) = plan.volumes
    return found


def refusal(plan: VolumesPlan) -> tuple[str, str]:
    """Code and line of the one refusal of a plan without volumes."""
    assert not plan.volumes
    (found,) = plan.refused
    return found.refusal.code, found.refusal.problem


def store_of(path: Path) -> Any:
    """A Zarr store of any form, opened by zarr itself."""
    if path.is_dir():
        return LocalStore(path, read_only=True)
    if path.suffix in (".zip", ".ozx"):
        return ZipStore(path, mode="r", read_only=True)
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT k, v FROM zarr").fetchall()
    database.close()
    return MemoryStore({key: cpu.Buffer.from_bytes(value) for key, value in rows})


def read(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The array of a file (x, y, z, [t], [colour]) in its own directions, and its matrix to RAS.

    Nothing of the product reads here.
    """
    if path.name.endswith((".nii", ".nii.gz")):
        loaded: Any = nibabel.load(path)
        data = np.asanyarray(loaded.dataobj)
        if data.dtype.names:
            data = np.stack([data[name] for name in data.dtype.names], axis=-1)
        return data, loaded.affine
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as held:
            return held["data"], held["affine"]
    store = store_of(path)
    group: Any = zarr.open_group(store, mode="r")
    data, own = group["volume"][:], group.attrs["dicom_volume"]
    store.close()
    axes = own["axes"]
    order = [axes.index(name) for name in (*own["affine_axes"], "t", "c") if name in axes]
    return data.transpose(order), np.array(own["affine"])


def canonical(data: NDArray[Any], affine: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """An array and its matrix in the closest canonical directions, by nibabel."""
    turn = nibabel.io_orientation(affine)
    back = nibabel.orientations.inv_ornt_aff(turn, data.shape[:3])
    return np.ascontiguousarray(nibabel.apply_orientation(data, turn)), affine @ back


def digest(data: NDArray[Any], affine: NDArray[np.float64]) -> str:
    """SHA-256 of the canonical array in float32 (colour: uint8), C order."""
    turned, _ = canonical(data, affine)
    is_colour = turned.dtype == np.uint8 and turned.ndim > 3 and turned.shape[-1] == 3
    return hashlib.sha256(np.ascontiguousarray(turned, "u1" if is_colour else "<f4").data).hexdigest()


def check(path: Path, values: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """Assert that a file holds (z, rows, columns) or (t, z, rows, columns) values at a place."""
    by_xyz = values.transpose(2, 1, 0) if values.ndim == 3 else values.transpose(3, 2, 1, 0)
    wanted, where = canonical(by_xyz, affine)
    data, found = canonical(*read(path))
    np.testing.assert_array_equal(data, wanted)
    np.testing.assert_allclose(found, where, atol=1e-4)
