"""The floor of a picture's cost: its bytes, decoded, windowed, resized, encoded, and nothing else.

Usage: python floor.py PLAN.json

This process knows in advance where every byte lies: it has no command line, parses no header, reads and
writes no index, checks and reports nothing. It sends requests in the same waves as a reader must (the
listing, then headers, then frames), over as many connections as help, and uses the same libraries as the
product; compressed frames are decoded in as many threads.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.store import S3Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def main(plan: dict[str, Any]) -> None:
    """Carry out the plan."""
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
    names: list[str] = []
    if plan["list"]:
        pages = obstore.list(store, prefix=plan["folder"], chunk_size=1000)
        names = [meta["path"] for page in pages for meta in page]
    with ThreadPoolExecutor(plan["connections"]) as pool:
        if plan["header_bytes"]:
            headers = pool.map(
                lambda name: obstore.get_range(store, name, start=0, end=plan["header_bytes"]), names
            )
            assert sum(1 for _ in headers) == len(names)
        if plan["frames"]:
            data = pool.map(
                lambda frame: obstore.get_range(
                    store, f"{plan['folder']}/{frame[0]}", start=frame[1], end=frame[2]
                ),
                plan["frames"],
            )
            paint(plan, data)


def paint(plan: dict[str, Any], frames: Any) -> None:
    """Turn frames into the picture's file."""
    import numpy as np  # noqa: PLC0415 - fetching alone needs neither
    from PIL import Image, WebPImagePlugin  # noqa: F401, PLC0415

    width, columns, rows = plan["tile"], plan["columns"], plan["rows"]
    slope, intercept = plan["rescale"]
    stored = np.arange(65536, dtype=np.float32) * slope + intercept
    tables = []
    for window, center in plan["windows"]:
        table = (stored - (center - 0.5)) / (window - 1) + 0.5
        tables.append(np.rint(np.clip(table * 255, 0, 255)).astype(np.uint8))
    picture = Image.new("L", (columns * width, rows * width))
    cell = 0
    for samples in decoded(plan, map(memoryview, frames)):
        for table in tables:
            tile = Image.fromarray(table[samples]).resize((width, width), Image.Resampling.BILINEAR)
            picture.paste(tile, (cell % columns * width, cell // columns * width))
            cell += 1
    picture.save(plan["output"], "WEBP", quality=plan["quality"], method=5)


def decoded(plan: dict[str, Any], frames: Iterable[memoryview]) -> Iterator[Any]:
    """Yield each frame's stored values, uint16 of (rows, columns)."""
    if not plan["jpeg2000"]:
        import numpy as np  # noqa: PLC0415 - likewise

        yield from (np.frombuffer(data, "<u2").reshape(plan["side"], plan["side"]) for data in frames)
        return
    from imagecodecs import jpeg2k_decode  # noqa: PLC0415 - native frames do not need it

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        # A fragment begins with its tag and length.
        yield from pool.map(jpeg2k_decode, (bytes(data[8:]) for data in frames))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
