"""Zarr: a group with one array, readable as OME-Zarr, as NIfTI-Zarr and by what it says of itself.

The folder is written first. A zip or SQLite file is packed from it, the same bytes on every run.
"""

from __future__ import annotations

import errno
import shutil
import sqlite3
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.pixels.stream import WORKERS
from dicom_series_preview.products.volumes.digest import file_order
from dicom_series_preview.products.volumes.extents import Extent, Slab, extents_of, slab_depth
from dicom_series_preview.products.volumes.formats.attributes import attributes_of
from dicom_series_preview.products.volumes.formats.base import (
    Readback,
    UnreadableError,
    WriteOptions,
    layout_of,
    read_with,
    reading_with,
)
from dicom_series_preview.products.volumes.formats.nifti import header_of
from dicom_series_preview.products.volumes.receipt import canonical_json
from dicom_series_preview.products.volumes.reorder import (
    NATIVE,
    Order,
    Reordered,
    native_affine,
    scratch,
    slabs_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from dicom_series_preview.products.volumes.plan import PlannedVolume

ARRAY = "volume"
_CHUNKS = (32, 128, 128)
_SIDE_V2 = 256
_EPOCH = (1980, 1, 1, 0, 0, 0)
_SUFFIX = ".folder"


class ZarrWriter:
    """Writes a Zarr group to a folder, and packs it if need be."""

    def __init__(
        self, path: Path, volume: PlannedVolume, dtype: np.dtype[Any], options: WriteOptions
    ) -> None:
        import zarr  # noqa: PLC0415 - 170 ms that only volumes pay
        from zarr.storage import LocalStore  # noqa: PLC0415 - likewise

        self._path = path
        self._pack = _PACKERS.get(path.suffix)
        self._folder = path if self._pack is None else path.with_name(path.name + _SUFFIX)
        self._folder.mkdir()
        place = volume.placement
        order = file_order(None if place is None else place.affine, options.orient)
        shape = order.shape(volume.shape)
        self._reordered = None if order == NATIVE else Reordered(volume.shape, dtype, order, path.parent)
        self._written = shape
        self._is_colour = volume.values.is_colour
        # Axes t, c, z, y, x; those of one place are left out.
        self._has_time = shape[0] > 1
        spatial = shape[1:4]
        depth = slab_depth(shape, dtype.itemsize)
        lead = (1,) * self._has_time, (3,) * self._is_colour
        lengths = (*((shape[0],) * self._has_time), *lead[1], *spatial)
        names = (*(("t",) * self._has_time), *(("c",) * self._is_colour), "z", "y", "x")
        chunks, shards = _chunks(spatial, depth, options)
        front = (1,) * (len(lengths) - 3)
        self._attributes = attributes_of(volume, order, names, options)
        # zarr starts its threads at the first call, else four more than there are processors.
        with zarr.config.set({"threading.max_workers": WORKERS}):
            self._group = zarr.create_group(
                LocalStore(self._folder),
                zarr_format=2 if options.zarr_format == 2 else 3,
                attributes=self._attributes,
            )
        of_array: dict[str, Any] = {}
        if volume.units:
            of_array["units"] = volume.units
        if volume.values.is_stored:
            of_array |= {"scale_factor": volume.values.slope, "add_offset": volume.values.intercept}
        more: dict[str, Any] = {}
        if options.zarr_format == 2:
            import numcodecs  # noqa: PLC0415 - as zarr

            more["compressors"] = numcodecs.Blosc("zstd", options.clevel, numcodecs.Blosc.BITSHUFFLE)
            more["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
            # Where xarray finds the names that Zarr 3 has a place for.
            of_array["_ARRAY_DIMENSIONS"] = names
            # It takes Zarr 2's fill value for no value.
            more["fill_value"] = None
        else:
            from zarr.codecs import BloscCodec  # noqa: PLC0415 - as zarr

            more["compressors"] = BloscCodec(
                cname="zstd", clevel=options.clevel, shuffle="bitshuffle", typesize=dtype.itemsize
            )
            more["dimension_names"] = names
            if shards is not None:
                more["shards"] = (*front, *shards)
        self._array = self._group.create_array(
            ARRAY,
            shape=lengths,
            dtype=dtype,
            chunks=(*front, *chunks),
            attributes=of_array,
            # A chunk of zeros is written like any other: what an older output left in its place never shows.
            config={"write_empty_chunks": True},
            **{"fill_value": 0, **more},
        )
        if options.zarr_format != 2:
            header = np.frombuffer(header_of(volume, dtype, options.orient), "u1")
            raw = self._group.create_array(
                "nifti",
                shape=header.shape,
                dtype="u1",
                chunks=header.shape,
                compressors=None,
                dimension_names=("nifti_byte",),
            )
            raw[:] = header

    def write(self, slab: Slab) -> None:
        """Write the next slab."""
        if self._reordered is None:
            self._put(slab)
        else:
            self._reordered.add(slab)

    def _put(self, slab: Slab) -> None:
        data = np.moveaxis(slab.data, -1, 1) if self._is_colour else slab.data
        where: list[Any] = [slice(*slab.extent.t)] if self._has_time else []
        data = data if self._has_time else data[0]
        where += [slice(None)] * self._is_colour
        self._array[(*where, slice(*slab.extent.z))] = data

    def said(self) -> Mapping[str, bytes]:
        """Return the attributes, the array's own, and the header for NIfTI-Zarr."""
        return _said(self._group)

    def finish(self, receipt: Mapping[str, Any]) -> None:
        """Add the receipt, and pack the folder."""
        if self._reordered is not None:
            self._write_reordered(self._reordered)
        self._attributes["dicom_volume"]["receipt"] = receipt
        self._group.update_attributes(self._attributes)
        if self._pack is not None:
            self._pack(self._folder, self._path)

    def _write_reordered(self, array: Reordered) -> None:
        """Write whole shards of an array whose blocks have other borders."""
        waiting: list[Slab] = []
        extents = list(extents_of(self._written, self._array.dtype.itemsize))
        for slab in slabs_of(array, self._written):
            waiting.append(slab)
            while extents and (joined := _joined(waiting, extents[0], self._written)) is not None:
                self._put(joined)
                extents.pop(0)

    def close(self) -> None:
        """Remove the temporary file, and the folder that was packed."""
        if self._reordered is not None:
            self._reordered.__exit__(None, None, None)
        if self._pack is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _joined(waiting: list[Slab], extent: Extent, shape: tuple[int, ...]) -> Slab | None:
    """Take the slices of an extent from slabs that follow each other; None while some are missing."""
    slices = shape[1]
    first, last = extent.t[0] * slices + extent.z[0], (extent.t[1] - 1) * slices + extent.z[1]
    flat = [
        (slab.extent.t[0] * slices + slab.extent.z[0], slab.data.reshape(-1, *slab.data.shape[2:]))
        for slab in waiting
    ]
    if not flat or flat[-1][0] + len(flat[-1][1]) < last:
        return None
    rows = [data[max(first - at, 0) : last - at] for at, data in flat if at < last and at + len(data) > first]
    # What lies wholly before the end is used up.
    waiting[:] = [slab for slab, (at, data) in zip(waiting, flat, strict=True) if at + len(data) > last]
    return Slab(extent, np.concatenate(rows).reshape(*extent.shape, *shape[2:]))


def _chunks(
    spatial: tuple[int, ...], depth: int, options: WriteOptions
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Return the sizes of chunks and of shards, both (z, y, x)."""
    slices = spatial[0]
    if options.chunks is not None:
        chosen = tuple(min(one, length) for one, length in zip(options.chunks, spatial, strict=True))
    elif options.zarr_format == 2:
        deep = 16 if slices < 64 else 32 if slices < 256 else 64
        return (min(deep, depth), min(_SIDE_V2, spatial[1]), min(_SIDE_V2, spatial[2])), None
    else:
        chosen = tuple(min(one, length) for one, length in zip(_CHUNKS, spatial, strict=True))
    if options.zarr_format == 2:
        return (min(chosen[0], depth), *chosen[1:]), None
    deep = min(chosen[0], depth)
    deep = next(one for one in range(deep, 0, -1) if depth % one == 0) if deep < slices else deep
    whole = min(depth, -(-slices // deep) * deep)
    whole = -(-whole // deep) * deep
    sides = [-(-length // one) * one for one, length in zip(chosen[1:], spatial[1:], strict=True)]
    return (deep, *chosen[1:]), (whole, *sides)


def _pack_zip(folder: Path, path: Path) -> None:
    """Pack a folder, stored and sorted, the group's metadata first (OME-Zarr RFC-9)."""
    with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED) as archive:
        for name in _names(folder):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o644 << 16
            with (folder / name).open("rb") as source, archive.open(info, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 2**20)


def _pack_sqlite(folder: Path, path: Path) -> None:
    """Pack a folder into the table of keys and values that zarr 2 and zarr-sqlite read."""
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.execute("PRAGMA application_id = 0x10B50760")
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("BEGIN")
        database.execute("CREATE TABLE zarr(k TEXT PRIMARY KEY, v BLOB)")
        database.execute("CREATE TABLE zarr_sqlitestore_metadata(k TEXT PRIMARY KEY, v BLOB)")
        for name in _names(folder):
            database.execute("INSERT INTO zarr VALUES (?, ?)", (name, (folder / name).read_bytes()))
        database.execute("COMMIT")
    except sqlite3.OperationalError as error:
        # SQLite says of a full disk what it says of a broken one.
        raise OSError(errno.EIO, f"SQLite cannot write: {error}") from error
    finally:
        database.close()


def _names(folder: Path) -> list[str]:
    found = [one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()]
    first = {"zarr.json": 0, ".zgroup": 0, ".zattrs": 1}
    return sorted(found, key=lambda name: (first.get(name, 2), name))


_PACKERS = {".zip": _pack_zip, ".ozx": _pack_zip, ".sqlite": _pack_sqlite}


class Zarr:
    """The formats Zarr: a folder, a zip file, a SQLite file."""

    def __init__(self, name: str, *extensions: str) -> None:
        self.name = name
        self.extensions = extensions

    def order(self, affine: NDArray[np.float64] | None, orient: str) -> Order:
        """Return the order of the array's axes."""
        return file_order(affine, orient)

    def writer(
        self, path: Path, volume: PlannedVolume, dtype: np.dtype[Any], options: WriteOptions
    ) -> ZarrWriter:
        """Begin to write a volume."""
        return ZarrWriter(path, volume, dtype, options)

    def read(self, path: Path) -> Readback:
        """Open a store with zarr.

        Raises:
            UnreadableError: It is none of ours, or broken.
        """
        import zarr  # noqa: PLC0415 - as in the writer

        with reading_with("zarr"):
            group = zarr.open_group(_store(path), mode="r")
            found: Any = dict(group.attrs)["dicom_volume"]
            array = group[ARRAY]
            affine = None if found["affine"] is None else np.array(found["affine"], np.float64)
            shape, order = layout_of(found["receipt"])
            native = None if affine is None else native_affine(affine, order, shape)
            said = _said(group)
        slabs = read_with("zarr", _native_slabs(array, shape, order))
        return Readback(native, slabs, found["receipt"], said)


def _said(group: Any) -> dict[str, bytes]:  # noqa: ANN401 - zarr's
    """Return what a group says beside its values and its receipt."""
    attributes = dict(group.attrs)
    own = {name: value for name, value in attributes["dicom_volume"].items() if name != "receipt"}
    array = group[ARRAY]
    names = getattr(array.metadata, "dimension_names", None)
    parts = {
        "attributes": canonical_json({**attributes, "dicom_volume": own}),
        "array": canonical_json([dict(array.attrs), list(names or ())]),
    }
    return {**parts, "nifti": np.asarray(group["nifti"][:]).tobytes()} if "nifti" in group else parts


def _store(path: Path) -> Any:  # noqa: ANN401 - zarr's
    from zarr.storage import LocalStore, ZipStore  # noqa: PLC0415 - as zarr

    if path.suffix in (".zip", ".ozx"):
        return ZipStore(path, mode="r", read_only=True)
    if path.suffix == ".sqlite":
        from dicom_series_preview.products.volumes.formats.sqlite import SqliteStore  # noqa: PLC0415 - as zarr

        return SqliteStore(path)
    return LocalStore(path, read_only=True)


def chunks_of(path: Path) -> list[int]:
    """Return the sizes of the chunks of a finished file or folder."""
    import zarr  # noqa: PLC0415 - as in the writer

    array: Any = zarr.open_group(_store(path), mode="r")[ARRAY]
    return list(array.chunks)


def _native_slabs(array: Any, shape: tuple[int, ...], order: Order) -> Iterator[Slab]:  # noqa: ANN401 - zarr's
    """Yield the array in the order of its source."""
    written = order.shape(shape)
    has_time, is_colour = written[0] > 1, len(shape) > 4
    expected = (*((written[0],) * has_time), *((3,) * is_colour), *written[1:4])
    if tuple(array.shape) != expected:
        raise UnreadableError("its array has another shape than its receipt says")

    def part(extent: Extent) -> NDArray[Any]:
        where: list[Any] = [slice(*extent.t)] if has_time else []
        data = array[(*where, *[slice(None)] * is_colour, slice(*extent.z))]
        data = data if has_time else data[np.newaxis]
        return np.ascontiguousarray(np.moveaxis(data, 1, -1) if is_colour else data)

    extents = extents_of(written, array.dtype.itemsize, most=array.chunks[-3])
    if order == NATIVE:
        # Nothing here keeps a slab while the next is read.
        yield from (Slab(extent, part(extent)) for extent in extents)
        return
    with Reordered(written, array.dtype, order.inverse, scratch()) as reordered:
        for extent in extents:
            reordered.add(Slab(extent, part(extent)))
        yield from slabs_of(reordered, shape)
