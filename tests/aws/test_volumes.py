"""Volumes as the deployment makes them: a batch that converts, through what `sam build` has made."""

import csv
import io
import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from built import BUILT

# isort: split

import numpy as np
import pyarrow.parquet as pq
from tests.aws.test_deployed import called, outcomes_of, path, run_batch, tell

import make_dicom
import stack as stacks
from planted import PATIENT
from stack import Stack

pytestmark = pytest.mark.aws

MPEG2 = "1.2.840.10008.1.2.4.100"
GOOD = 16


@pytest.fixture(scope="module")
def stack(layers: list[Path]) -> Iterator[Stack]:
    """The deployment, whose function for volumes has the smallest disk."""
    assert layers
    with stacks.deployed(BUILT, ConvertStorageSize="512") as running:
        yield running


def put(stack: Stack, objects: dict[str, bytes]) -> None:
    """Put objects into the bucket of series."""
    s3 = stack.s3.client()
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda item: s3.put_object(Bucket=stacks.DICOM_BUCKET, Key=item[0], Body=item[1]),
                objects.items(),
            )
        )


def slices(
    name: str, numbers: list[int], syntax: str = make_dicom.EXPLICIT, **elements: Any
) -> dict[str, bytes]:
    """Slices of a series, 1 mm apart."""
    uid = f"1.2.3.{uuid.uuid5(uuid.NAMESPACE_URL, name).int}"
    found = {}
    for i in numbers:
        own = {"SeriesInstanceUID": uid, "SOPInstanceUID": f"{uid[:50]}.{i}"}
        image = make_dicom.image(i, **{**own, **PATIENT, **elements})
        found[f"{name}/{i}.dcm"] = make_dicom.encode(image, syntax)
    return found


def batch_of_twenty(prefix: str) -> tuple[dict[str, bytes], dict[str, str]]:
    """The objects of twenty series, and by name why some are no volume."""
    objects: dict[str, bytes] = {}
    for number in range(GOOD):
        objects |= slices(f"{prefix}good-{number:02}", [1, 2, 3, 4])
    film = make_dicom.encapsulate([[b"no film!"]])
    # So large by its header: its pixels are never asked for.
    large = {"Rows": 8000, "Columns": 8000, "PixelData": film}
    objects |= slices(f"{prefix}single", [1]) | slices(f"{prefix}gap", [1, 2, 4])
    objects |= slices(f"{prefix}film", [1, 2, 3], MPEG2, PixelData=film)
    objects |= slices(f"{prefix}large", [1, 2, 3], make_dicom.RLE, **large)
    names = ("single", "gap", "film", "large")
    codes = ("single_location", "missing_slices", "decode_failed", "too_large_here")
    return objects, {f"{prefix}{name}": code for name, code in zip(names, codes, strict=True)}


def body_of(stack: Stack, key: str) -> bytes:
    """An object of the data bucket."""
    return stack.s3.client().get_object(Bucket=stacks.DATA_BUCKET, Key=key)["Body"].read()


def volumes_of(stack: Stack) -> dict[str, str]:
    """The objects below volumes/, by key their ETag."""
    pages = stack.s3.client().get_paginator("list_objects_v2")
    found = pages.paginate(Bucket=stacks.DATA_BUCKET, Prefix="volumes/")
    return {entry["Key"]: entry["ETag"] for page in found for entry in page.get("Contents", [])}


def test_a_batch_of_twenty_series(stack: Stack) -> None:
    """Sixteen become volumes and four are results with a reason; again, nothing is made twice."""
    prefix = f"convert-{uuid.uuid4().hex[:8]}-"
    objects, refused = batch_of_twenty(prefix)
    put(stack, objects)
    request = {"kind": "convert", "prefix": prefix, "to": "npz", "clevel": 3}

    first = run_batch(stack, request)
    assert (first["status"], first["error"]) == ("SUCCEEDED", None)
    progress = {"series": 20, "waiting": 0, "running": 0, "done": 20, "lost": 0, "cancelled": 0}
    assert first["progress"] == progress
    summary = first["summary"]
    counts = {name: summary[name] for name in ("items", "made", "exists", "refused", "failed", "missing")}
    assert counts == {"items": 20, "made": GOOD, "exists": 0, "refused": 4, "failed": 0, "missing": 0}
    assert (summary["volumes"], summary["refusals"]) == (GOOD, dict.fromkeys(sorted(refused.values()), 1))

    rows = {row["series"]: row for row in outcomes_of(stack, summary)}
    assert {name: rows[name]["code"] for name in refused} == refused
    command = f"convert {prefix}large --root ROOT -o FOLDER --to npz --clevel 3"
    assert rows[f"{prefix}large"]["problem"].endswith(command)
    manifest = body_of(stack, summary["too_large_here"]).decode()
    assert [row["series_dir"] for row in csv.DictReader(io.StringIO(manifest))] == [f"{prefix}large"]

    pixels = np.frombuffer(make_dicom.PIXELS, "<u2").reshape(4, 6).astype(np.float32) - 1024
    for name in set(rows) - set(refused):
        with np.load(io.BytesIO(body_of(stack, rows[name]["output"])), allow_pickle=False) as volume:
            # NPZ runs from right to left and from anterior to posterior: this series has x and y so.
            assert volume["data"].shape == (4, 4, 6)
            assert sorted(volume["data"][0].ravel()) == sorted(pixels.ravel())
        receipt = json.loads(body_of(stack, f"{rows[name]['output']}.receipt.json"))
        assert receipt["volume"]["sha256"] == rows[name]["sha256"]
    assert stacks.beyond_role(stack, "BatchConvertFunction") == []

    links = first["links"]
    assert set(links) == {"outcomes", "too_large_here"}
    assert stacks.fetch(links["outcomes"], "GET", {}, None).body == body_of(stack, summary["outcomes"])
    assert stacks.fetch(links["too_large_here"], "GET", {}, None).body.decode() == manifest

    name = f"{prefix}good-00"
    outcome = stack.get(f"/batches/{first['batch']}", {"series": name}).json()["outcome"]
    (volume,) = outcome["volumes"]
    assert list(volume["links"]) == [volume["output"], f"{volume['output']}.receipt.json"]
    for key, link in volume["links"].items():
        assert stacks.fetch(link, "GET", {}, None).body == body_of(stack, key)
    assert stack.get(f"/batches/{first['batch']}", {"series": "none"}).json()["outcome"] is None
    assert stacks.beyond_role(stack, "BatchApiFunction") == []

    before, calls = volumes_of(stack), called(stack, "BatchConvertFunction")
    assert calls == 20
    rerun = run_batch(stack, {"rerun": first["batch"]})
    assert (rerun["status"], rerun["summary"]["items"]) == ("SUCCEEDED", 0)
    again = run_batch(stack, request)["summary"]
    assert (again["made"], again["exists"], again["refused"]) == (0, GOOD, 4)
    assert volumes_of(stack) == before
    text = "".join(stack.log().values())
    assert prefix not in text


def test_a_plan_over_http(stack: Stack) -> None:
    """The plan says which volumes a series gives and why it gives others not."""
    name = f"plan-{uuid.uuid4().hex[:8]}"
    put(stack, slices(name, [1, 2, 4]))
    answer = stack.get(path(name, "volumes"))
    assert answer.status == 200
    assert [one["code"] for one in answer.json()["refused"]] == ["missing_slices"]
    calls = called(stack, "SeriesFunction")
    assert stack.get(path(name, "volumes"), {"stack": "x"}).status == 400
    assert called(stack, "SeriesFunction") == calls + 1


def test_volumes_go_with_their_series(stack: Stack) -> None:
    """When the objects of a series are removed, nothing of its volumes stays."""
    name = f"erased-{uuid.uuid4().hex[:8]}"
    objects = slices(name, [1, 2, 3])
    put(stack, objects)
    summary = run_batch(stack, {"kind": "convert", "series": [name]})["summary"]
    (row,) = pq.read_table(io.BytesIO(body_of(stack, summary["outcomes"]))).to_pylist()
    folder = row["output"].rpartition("/")[0]
    assert [key for key in volumes_of(stack) if key.startswith(f"{folder}/")]
    for key in objects:
        stack.s3.client().delete_object(Bucket=stacks.DICOM_BUCKET, Key=key)
    tell(stack, name, [key.rpartition("/")[2] for key in objects], kind="Object Deleted")
    assert not [key for key in volumes_of(stack) if key.startswith(f"{folder}/")]
