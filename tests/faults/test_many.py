"""Many pictures from a server that fails now and then."""

import random
from collections import Counter
from itertools import cycle
from pathlib import Path

import pytest

import faulty
import synthetic
from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.base.settings import Limits, Settings
from dicom_series_preview.products.pictures.requests import MosaicRequest
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.sources.storage.base import Storage
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.sources.storage.open import open_storage
from dicom_series_preview.sources.storage.retry import RetryPolicy
from faulty import at_once

PICTURES, SERIES, SLICES = 200, 10, 6
RETRIES = 5
SETTINGS = Settings(Path("/nowhere"), concurrency=8, max_retries=RETRIES, request_timeout_s=60.0)


def mosaic(storage: Storage, cache: IndexCache, series: str) -> bytes:
    """A mosaic of all slices of a series, which is whole."""
    service = PreviewService(storage, cache, Limits())
    rendered = service.render(MosaicRequest.from_strings(series, "a.webp", {"tile_width": ["3"]}))
    assert (rendered.report.warnings, rendered.report.skipped) == ((), ())
    return rendered.data


@pytest.mark.parametrize("kind", ["s3", "http"])
def test_many_pictures(kind: str) -> None:
    """With 5 % of answers refused and 1 % cut short, 200 pictures are those of a server that never fails."""
    rng = random.Random(20240601)
    with faulty.FaultyServer(page_objects=4) as server:
        for i in range(SERIES):
            objects = synthetic.series(f"many-{i}", SLICES + i, others=False, side=48).objects
            server.objects.update({f"bucket/many-{i}/{name}": data for name, data in objects.items()})
        root = "s3://bucket" if kind == "s3" else f"{server.url}/bucket"
        policy = RetryPolicy(RETRIES, 600.0, wait=at_once)
        storage = open_storage(root, SETTINGS, server.environment, retry=policy)
        truths = {
            name: mosaic(storage, IndexCache(MemoryStorage()), name)
            for name in (f"many-{i}" for i in range(SERIES))
        }
        assert len(set(truths.values())) == SERIES
        refusal = faulty.refused(503, "SlowDown", retry_after="0")
        plan = faulty.at_random(rng, [(0.05, refusal), (0.01, faulty.cut_short)])
        spoilt: Counter[str] = Counter()
        # Every other picture has its index from the ones before.
        warm = IndexCache(MemoryStorage())
        names = cycle(truths)
        for i in range(PICTURES):
            name = next(names)
            server.begin(plan)
            cache = warm if i % 2 else IndexCache(MemoryStorage())
            assert mosaic(storage, cache, name) == truths[name]
            for asked, tries in server.tries().items():
                assert tries <= (RETRIES + 1) * (2 if asked.token else 1), asked
                spoilt[asked.kind] += tries - 1
        assert spoilt["GET"] > 50
        assert storage.usage.gets > PICTURES * SLICES
