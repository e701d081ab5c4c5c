"""What an update of a bucket asks for: cold, unchanged, and with a few series changed."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import counting
import make_dicom as make
import servers
from catalogued import Catalogued
from dicom_series_preview.base.settings import Settings
from dicom_series_preview.sources.storage.local import LocalStorage
from dicom_series_preview.sources.storage.open import open_storage

SERIES = int(os.environ.get("DICOM_SERIES_PREVIEW_SERIES", "300"))
CHANGED = max(1, SERIES // 100)
BUCKET = "many-small-series"
# The least that one object's header is read with.
MOST_BYTES = 2_000


def series_object(number: int, version: int = 0) -> bytes:
    """A small object, the only one of its series."""
    uid = f"1.2.826.0.1.3680043.10.1338.{number}"
    return make.encode(make.image(1, SeriesInstanceUID=uid, SOPInstanceUID=f"{uid}.1", SeriesNumber=version))


def put(moto: servers.Moto, numbers: range, version: int = 0) -> None:
    """Upload the objects of some series."""
    client = moto.client("s3")

    def one(number: int) -> None:
        key = f"study-{number // 8}/series-{number}/1.dcm"
        client.put_object(Bucket=BUCKET, Key=key, Body=series_object(number, version))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, numbers))
    client.close()


@pytest.fixture(scope="module")
def proxy(moto: servers.Moto) -> Iterator[counting.CountingProxy]:
    """A counted way to a bucket of many small series."""
    client = moto.client("s3")
    client.create_bucket(Bucket=BUCKET)
    client.close()
    put(moto, range(SERIES))
    with counting.CountingProxy(moto.endpoint) as running:
        yield running


def opened(moto: servers.Moto, proxy: counting.CountingProxy, cache: Path) -> Catalogued:
    """The bucket, and a cache on the disk; each is opened anew, as another process does."""
    environment = {**moto.environment, "AWS_ENDPOINT_URL": proxy.url}
    root = open_storage(f"s3://{BUCKET}", Settings(Path("unused")), environment)
    cache.mkdir(exist_ok=True)
    proxy.clear()
    return Catalogued(root, LocalStorage(cache, 4))


def test_an_update_asks_for_what_has_changed(
    moto: servers.Moto, proxy: counting.CountingProxy, tmp_path: Path
) -> None:
    """Cold, an update lists and reads each object once; unchanged it lists; else it reads what changed."""
    pages = -(-SERIES // 1000)
    cold = opened(moto, proxy, tmp_path / "cache")
    done = cold.update()
    assert (done.new, done.failed, done.headers) == (SERIES, {}, SERIES)
    assert done.commits == -(-SERIES // 1000)
    assert proxy.kinds() == {"LIST": pages, "GET": SERIES}
    assert cold.root.usage.bytes <= SERIES * MOST_BYTES

    unchanged = opened(moto, proxy, tmp_path / "cache")
    done = unchanged.update()
    assert (done.unchanged, done.headers, done.commits) == (SERIES, 0, 0)
    assert proxy.kinds() == {"LIST": pages}
    assert unchanged.root.usage.bytes == 0

    put(moto, range(CHANGED), version=7)
    few = opened(moto, proxy, tmp_path / "cache")
    done = few.update()
    assert (done.changed, done.unchanged, done.headers, done.commits) == (
        CHANGED,
        SERIES - CHANGED,
        CHANGED,
        1,
    )
    assert proxy.kinds() == {"LIST": pages, "GET": CHANGED}
    assert sum(one["SeriesNumber"] == 7 for one in few.rows("SeriesNumber")) == CHANGED
    assert len(few.rows()) == SERIES
