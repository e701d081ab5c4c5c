"""The usual way without the product: download the series, sort it with pydicom, join tiles with Pillow.

Usage: python naive.py ENDPOINT FOLDER OUTPUT
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import obstore
from obstore.store import S3Store
from PIL import Image
from pydicom import dcmread

TILE, SIDE_TILES = 128, 6


def main(endpoint: str, folder: str, output: str) -> None:
    """Write a mosaic of a series."""
    store = S3Store(
        "bench",
        config={
            "region": "us-east-1",
            "skip_signature": True,
            "endpoint": endpoint,
            "virtual_hosted_style_request": False,
        },
        client_options={"allow_http": True},
    )
    names = [meta["path"] for page in obstore.list(store, prefix=folder) for meta in page]
    with ThreadPoolExecutor(64) as pool:
        objects = list(pool.map(lambda name: bytes(obstore.get(store, name).bytes()), names))
    datasets = [dcmread(BytesIO(data)) for data in objects]
    datasets.sort(key=lambda dataset: -dataset.ImagePositionPatient[2])
    count = SIDE_TILES**2
    mosaic = Image.new("L", (SIDE_TILES * TILE, SIDE_TILES * TILE))
    for cell in range(count):
        dataset = datasets[round(cell * (len(datasets) - 1) / (count - 1))]
        values = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        low = dataset.WindowCenter - dataset.WindowWidth / 2
        shown = np.clip((values - low) / dataset.WindowWidth * 255, 0, 255).astype(np.uint8)
        tile = Image.fromarray(shown).resize((TILE, TILE), Image.Resampling.LANCZOS)
        mosaic.paste(tile, (cell % SIDE_TILES * TILE, cell // SIDE_TILES * TILE))
    mosaic.save(output, quality=25)


if __name__ == "__main__":
    main(*sys.argv[1:])
