"""NIfTI-1 (NIfTI-2 beyond 32,767 places): slices streamed behind a header, and read back by nibabel."""

from __future__ import annotations

import json
import math
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview._version import __version__
from dicom_series_preview.products.volumes.digest import file_order
from dicom_series_preview.products.volumes.extents import Slab, extents_of
from dicom_series_preview.products.volumes.formats.base import (
    Readback,
    UnfinishedError,
    UnreadableError,
    WriteOptions,
    layout_of,
    read_with,
    reading_with,
)
from dicom_series_preview.products.volumes.formats.nifti_header import new_header, put_affine, put_zooms
from dicom_series_preview.products.volumes.receipt import canonical_json
from dicom_series_preview.products.volumes.reorder import (
    NATIVE,
    Order,
    Reordered,
    affine_in,
    native_affine,
    scratch,
    slabs_of,
)
from dicom_series_preview.products.volumes.sidecar import fsl_tables, sidecar_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from dicom_series_preview.products.volumes.plan import PlannedVolume

_IGZIP_LEVEL = 2
# Slices that are read back at once.
_READ_SLICES = 16
_MAKER = b"dicom-series-preview "
RECEIPT = "DicomSeriesPreview"
"""The receipt's key in the sidecar."""
_TABLES = ("bval", "bvec")


def header_of(volume: PlannedVolume, dtype: np.dtype[Any], orient: str = "native") -> bytes:
    """Return the NIfTI header of a volume.

    Args:
        volume: The volume.
        dtype: The type of its values.
        orient: `native` or `ras`.
    """
    place = volume.placement
    order = file_order(None if place is None else place.affine, orient)
    shape = order.shape(volume.shape)[3::-1]
    dims = shape if shape[3] > 1 else shape[:3]
    header = new_header(dims, dtype, is_rgb=volume.values.is_colour)
    header["descrip"] = _MAKER + __version__.encode()
    header["scl_slope"], header["scl_inter"] = volume.values.slope, volume.values.intercept
    if place is not None:
        # Indices run (i, j, k), the fastest first.
        affine = affine_in(place.affine, order, volume.shape)[:, [2, 1, 0, 3]]
        put_affine(header, affine)
        if len(dims) > 3:
            header["pixdim"][4] = volume.step_s
    elif volume.slices[0].pixel_spacing_mm is not None:
        down, across = volume.slices[0].pixel_spacing_mm
        put_zooms(header, [across, down, 1.0])
    return header.tobytes()


class NiftiWriter:
    """Writes a NIfTI file."""

    def __init__(self, path: Path, volume: PlannedVolume, dtype: np.dtype[Any], orient: str) -> None:
        self._path = path
        self._header = header_of(volume, dtype, orient)
        place = volume.placement
        self._tables = _tables(volume, orient)
        order = file_order(None if place is None else place.affine, orient)
        self._sidecar = sidecar_document(volume, order)
        self._array = None if order == NATIVE else Reordered(volume.shape, dtype, order, path.parent)
        self._raw: IO[bytes] = path.open("xb")
        self._stream: Any = self._raw
        if path.suffix == ".gz":
            from isal import igzip  # noqa: PLC0415 - only what compresses needs it

            self._stream = igzip.IGzipFile("", "wb", _IGZIP_LEVEL, self._raw, mtime=0)
        self._stream.write(self._header + bytes(4))

    def write(self, slab: Slab) -> None:
        """Write the next slab."""
        if self._array is None:
            self._stream.write(slab.data.data)
        else:
            self._array.add(slab)

    def said(self) -> Mapping[str, bytes]:
        """Return the header, the sidecar without the receipt, and FSL's tables."""
        return {
            "header": self._header,
            "sidecar": canonical_json(self._sidecar),
            **{name: text.encode("ascii") for name, text in self._tables.items()},
        }

    def finish(self, receipt: Mapping[str, Any]) -> None:
        """Write what has waited, and the files beside: the receipt stands in the sidecar."""
        for block in self._array.blocks() if self._array is not None else ():
            self._stream.write(np.ascontiguousarray(block).data)
        if self._stream is not self._raw:
            self._stream.close()
        self._raw.flush()
        beside = sidecar_of(self._path)
        for name, text in self._tables.items():
            beside.with_suffix(f".{name}").write_text(text, "ascii")
        document = json.dumps({**self._sidecar, RECEIPT: dict(receipt)}, indent=2, ensure_ascii=False)
        beside.write_text(f"{document}\n", "utf-8")

    def close(self) -> None:
        """Close the file."""
        if self._array is not None:
            self._array.__exit__(None, None, None)
        self._raw.close()


class Nifti:
    """The formats NIfTI, plain and compressed."""

    def __init__(self, name: str, extension: str) -> None:
        self.name = name
        self.extensions = (extension,)

    def order(self, affine: NDArray[np.float64] | None, orient: str) -> Order:
        """Return the order of the file's bytes."""
        return file_order(affine, orient)

    def writer(
        self, path: Path, volume: PlannedVolume, dtype: np.dtype[Any], options: WriteOptions
    ) -> NiftiWriter:
        """Begin to write a volume."""
        return NiftiWriter(path, volume, dtype, options.orient)

    def read(self, path: Path) -> Readback:
        """Open a NIfTI file with nibabel, and the sidecar beside it.

        Raises:
            UnreadableError: It is none of ours, or broken.
        """
        import nibabel  # noqa: PLC0415 - 200 ms that only volumes pay
        from nibabel.openers import ImageOpener  # noqa: PLC0415 - likewise

        with reading_with("nibabel"):
            image: Any = nibabel.load(path, keep_file_open=True, mmap=False)
            if not sidecar_of(path).exists() and bytes(image.header["descrip"]).startswith(_MAKER):
                raise UnfinishedError(f"{sidecar_of(path).name}, which holds its receipt, is missing")
            document = json.loads(sidecar_of(path).read_text("utf-8"))
            receipt = document.pop(RECEIPT)
            shape, order = layout_of(receipt)
            _check_length(path, image)
            affine = None
            if int(image.header["sform_code"]):
                affine = native_affine(image.affine[:, [2, 1, 0, 3]], order, shape)
            # nibabel's own copy forgets the slope.
            with ImageOpener(path) as stream:
                header = stream.read(int(image.header["sizeof_hdr"]))
            said = {"header": header, "sidecar": canonical_json(document), **_tables_of(path)}
        slabs = read_with("nibabel", _native_slabs(image, shape, order, path))
        return Readback(affine, slabs, receipt, said)


def _check_length(path: Path, image: Any) -> None:  # noqa: ANN401 - nibabel's
    """Refuse a file that is cut off, before anything of it is read.

    Raises:
        UnreadableError: It is shorter or longer than its header says.
    """
    found = image.dataobj
    whole = int(found.offset) + math.prod(found.shape) * found.dtype.itemsize
    length = path.stat().st_size
    if path.suffix == ".gz":
        # The last four bytes of a gzip member are its length before compression (RFC 1952).
        with path.open("rb") as stream:
            stream.seek(max(length - 4, 0))
            length, whole = int.from_bytes(stream.read(4), "little"), whole % 2**32
    if length != whole:
        raise UnreadableError("it is cut off, or has more than its array")


def _tables(volume: PlannedVolume, orient: str) -> dict[str, str]:
    """Return the texts of FSL's tables by their extension; none of a volume without diffusion."""
    place = volume.placement
    if place is None:
        return {}
    affine = affine_in(place.affine, file_order(place.affine, orient), volume.shape)
    tables = fsl_tables(volume, affine[:, [2, 1, 0, 3]])
    return {} if tables is None else dict(zip(_TABLES, tables, strict=True))


def _tables_of(path: Path) -> dict[str, bytes]:
    beside = [sidecar_of(path).with_suffix(f".{name}") for name in _TABLES]
    return {one.suffix[1:]: one.read_bytes() for one in beside if one.exists()}


def sidecar_of(path: Path) -> Path:
    """Return the path of a NIfTI file's JSON sidecar."""
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")


def _native_slabs(image: Any, shape: tuple[int, ...], order: Order, path: Path) -> Iterator[Slab]:  # noqa: ANN401 - nibabel's
    """Yield the array in the order of its source."""
    from nibabel.arrayproxy import ArrayProxy  # noqa: PLC0415 - loaded already
    from nibabel.openers import ImageOpener  # noqa: PLC0415 - likewise

    written, found = order.shape(shape), image.dataobj
    if tuple(found.shape) != (written[3::-1] if written[0] > 1 else written[3:0:-1]):
        raise UnreadableError("its array has another shape than its receipt says")
    # Stored values, whatever the header's slope; one stream, as each begins a compressed file anew.
    with ImageOpener(path) as stream:
        # Not mapped into memory: nibabel would map the compressed bytes of a stream that it does not know.
        plain: Any = ArrayProxy(stream, (found.shape, found.dtype, found.offset, 1.0, 0.0), mmap=False)
        if order == NATIVE:
            yield from _file_slabs(plain, written)
        else:
            dtype = np.dtype("u1") if len(shape) > 4 else found.dtype
            with Reordered(written, dtype, order.inverse, scratch()) as array:
                for slab in _file_slabs(plain, written):
                    array.add(slab)
                yield from slabs_of(array, shape)
        # A compressed file's own checksum stands behind its last value.
        if stream.read(1):
            raise UnreadableError("there is more in it than its array")


def _file_slabs(plain: Any, written: tuple[int, ...]) -> Iterator[Slab]:  # noqa: ANN401 - nibabel's
    """Yield the file's array front to back, in the order (t, z, y, x) of its bytes."""
    is_colour = len(written) > 4
    for extent in extents_of(written, 1 if is_colour else plain.dtype.itemsize, most=_READ_SLICES):
        spans = (..., slice(*extent.z), slice(*extent.t)) if written[0] > 1 else (..., slice(*extent.z))
        data = np.asarray(plain[spans]).transpose()
        if is_colour:
            data = np.stack([data[name] for name in "RGB"], axis=-1)
        slab = Slab(extent, np.ascontiguousarray(data).reshape(*extent.shape, *written[2:]))
        # Nothing here keeps a slab while the next is read.
        del data
        yield slab
        del slab
