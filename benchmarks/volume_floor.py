"""The floor of a volume's cost: its bytes, decoded, rescaled, compressed, written, and nothing else.

Usage: python volume_floor.py PLAN.json

This process knows in advance where every byte lies, how large the volume is and that its values fit: it has
no command line, parses no header, makes no affine, measures no slice, takes no digest, reads nothing back
and syncs nothing. It uses the same libraries as the product, at the same levels; the next slab is fetched
while one is written.
"""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THREADS = min(4, os.cpu_count() or 1)
SLAB, CHUNKS, SHARDS = 64, (32, 128, 128), (64, 512, 512)


def main(plan: dict[str, Any]) -> None:
    """Carry out the plan."""
    if plan["format"] == "nothing":
        assert sum(1 for _ in decoded(plan)) == len(plan["frames"])
        return
    writer = WRITERS[plan["format"]](plan)
    with ThreadPoolExecutor(1) as pool:
        writing = None
        for slab in slabs(plan):
            if writing is not None:
                writing.result()
            writing = pool.submit(writer, slab)
        assert writing is not None
        writing.result()
        writer(None)


def slabs(plan: dict[str, Any]) -> Iterator[Any]:
    """Yield modality values, int16 of (slices, rows, columns)."""
    slices = decoded(plan)
    left, side = len(plan["frames"]), plan["side"]
    while left:
        slab = np.empty((min(SLAB, left), side, side), "<i2")
        for place in range(len(slab)):
            np.copyto(slab[place], next(slices), casting="unsafe")
            slab[place] += plan["intercept"]
        left -= len(slab)
        yield slab


def decoded(plan: dict[str, Any]) -> Iterator[Any]:
    """Yield each frame's stored values, uint16 of (rows, columns)."""
    side, fetch = plan["side"], fetcher(plan)
    if not plan["jpeg2000"]:
        for data in ahead(plan["connections"], plan["connections"], fetch, plan["frames"]):
            yield np.frombuffer(data, "<u2").reshape(side, side)
        return
    from imagecodecs import jpeg2k_decode  # noqa: PLC0415 - native frames do not need it

    # A fragment begins with its tag and length.
    yield from ahead(
        THREADS, 2 * THREADS, lambda frame: jpeg2k_decode(bytes(memoryview(fetch(frame))[8:])), plan["frames"]
    )


def ahead(threads: int, most: int, work: Callable[[Any], Any], items: list[Any]) -> Iterator[Any]:
    """Yield the results of work in order, while that on a few more goes on."""
    with ThreadPoolExecutor(threads) as pool:
        running: deque[Any] = deque()
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) > most:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def fetcher(plan: dict[str, Any]) -> Callable[[Any], Any]:
    """Return what fetches a frame: from a folder, or from S3."""
    if "root" in plan:
        folder = Path(plan["root"], plan["folder"])

        def read(frame: Any) -> bytes:
            name, start, end = frame
            with (folder / name).open("rb", buffering=0) as file:
                file.seek(start)
                return file.read(end - start)

        return read
    import obstore  # noqa: PLC0415 - a folder does not need it
    from obstore.store import S3Store  # noqa: PLC0415 - likewise

    store = S3Store(
        plan["bucket"],
        config={
            "region": "us-east-1",
            "skip_signature": True,
            "endpoint": plan["endpoint"],
            "virtual_hosted_style_request": False,
        },
        client_options={"allow_http": True},
    )
    assert any(obstore.list(store, prefix=plan["folder"], chunk_size=1000))

    def get(frame: Any) -> memoryview:
        name, start, end = frame
        return memoryview(obstore.get_range(store, f"{plan['folder']}/{name}", start=start, end=end))

    return get


def zarr_writer(plan: dict[str, Any]) -> Callable[[Any], None]:
    """Return what writes slabs to Zarr."""
    import zarr  # noqa: PLC0415 - only what writes it needs it
    from zarr.codecs import BloscCodec  # noqa: PLC0415 - likewise
    from zarr.storage import LocalStore  # noqa: PLC0415 - likewise

    side = plan["side"]
    group = zarr.create_group(LocalStore(plan["output"]), zarr_format=3)
    array = group.create_array(
        "volume",
        shape=(len(plan["frames"]), side, side),
        dtype="i2",
        chunks=tuple(min(one, most) for one, most in zip(CHUNKS, (SLAB, side, side), strict=True)),
        shards=tuple(min(one, most) for one, most in zip(SHARDS, (SLAB, side, side), strict=True)),
        compressors=BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle", typesize=2),
        fill_value=0,
    )
    done = 0

    def write(slab: Any) -> None:
        nonlocal done
        if slab is not None:
            array[done : done + len(slab)] = slab
            done += len(slab)

    return write


def nifti_writer(plan: dict[str, Any]) -> Callable[[Any], None]:
    """Return what writes slabs behind a header of zeros."""
    raw: Any = Path(plan["output"]).open("wb")  # noqa: SIM115 - closed by the last write
    stream = raw
    if plan["format"] == "nii.gz":
        from isal import igzip  # noqa: PLC0415 - only what compresses needs it

        stream = igzip.IGzipFile("", "wb", 2, raw, mtime=0)
    stream.write(bytes(352))

    def write(slab: Any) -> None:
        if slab is not None:
            stream.write(slab.data)
            return
        stream.close()
        raw.close()

    return write


def npz_writer(plan: dict[str, Any]) -> Callable[[Any], None]:
    """Return what writes slabs to an NPZ, as float32."""
    import zipfile  # noqa: PLC0415 - only what writes it needs it
    import zlib  # noqa: PLC0415 - likewise

    from isal import isal_zlib  # noqa: PLC0415 - likewise

    archive = zipfile.ZipFile(plan["output"], "w", zipfile.ZIP_DEFLATED)
    stream: Any = archive.open("data.npy", "w", force_zip64=True)
    stream._compressor = isal_zlib.compressobj(2, zlib.DEFLATED, -zlib.MAX_WBITS)  # noqa: SLF001
    shape = (len(plan["frames"]), plan["side"], plan["side"])
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)

    def write(slab: Any) -> None:
        if slab is None:
            stream.close()
            archive.close()
            return
        for values in slab:
            stream.write(values.astype("<f4").data)

    return write


WRITERS = {"zarr": zarr_writer, "nii": nifti_writer, "nii.gz": nifti_writer, "npz": npz_writer}

if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
