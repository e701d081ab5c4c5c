import json
import subprocess
import sys
from typing import Any
from urllib.parse import parse_qs

import pytest

import make_dicom
import planted
from bench import Bench, problem, reports, slices
from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.products.pictures.requests import IndexRequest
from dicom_series_preview.products.volumes.formats.table import FORMATS
from dicom_series_preview.products.volumes.options import VolumeOptions
from dicom_series_preview.products.volumes.plan import plan_document, plan_volumes
from dicom_series_preview.web.http.messages import HttpRequest, HttpResponse
from dicom_series_preview.web.http.openapi import openapi_document
from dicom_series_preview.web.http.volume_options import CONVERT, Conversion, read_conversion, read_plan


def ask(bench: Bench, query: str = "", series: str = "S", **headers: str) -> HttpResponse:
    """The plan of a series."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = bench.api.volumes(HttpRequest(series, parse_qs(query, keep_blank_values=True), named))
    planted.check_answer(answer.headers, answer.body)
    return answer


def document_of(answer: HttpResponse) -> dict[str, Any]:
    """The document of a plan."""
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json"), answer.body
    return json.loads(answer.body)


def wrong(answer: HttpResponse) -> set[str]:
    """The parameters that a problem names."""
    return {one["parameter"] for one in problem(answer, 400, "bad-parameter")["errors"]}


def test_a_plan_is_that_of_every_door() -> None:
    """The answer is the document of the plan, as the command line prints it, with the root's alias."""
    bench = Bench()
    found = document_of(ask(bench))
    assert found.pop("root") == "default"
    opened = bench.api.services["default"]().index(IndexRequest.from_strings("S", {}))
    assert found == json.loads(json.dumps(plan_document(plan_volumes(opened, VolumeOptions()))))
    (volume,) = found["volumes"]
    assert volume["shape_tzyx"][:2] == [1, 4]


def test_a_plan_of_an_indexed_series_reads_no_object() -> None:
    """Once there is an index, a plan costs its listing and nothing else of the root."""
    bench = Bench()
    document_of(ask(bench))
    bench.reset()
    answer = ask(bench)
    assert bench.pixel_requests() == 0
    assert answer.headers["Preview-Index"] == "cache"


def test_what_is_no_volume_is_said_with_200() -> None:
    """A part that is no volume is in the plan with its code, and so is a series without an image."""
    document = document_of(ask(Bench(), "min_slices=9"))
    assert (document["volumes"], document["refused"][0]["code"]) == ([], "single_location")
    bench = Bench({**reports("S"), **slices("T")})
    (refused,) = document_of(ask(bench))["refused"]
    assert (refused["code"], refused["stack"]) == ("no_image", None)
    required = openapi_document()["paths"]["/series/{series}/volumes"]["get"]["responses"]["200"]
    schema = required["content"]["application/json"]["schema"]
    assert set(document_of(ask(bench))) == set(document_of(ask(Bench()))) == set(schema["required"])


def test_options_change_the_plan() -> None:
    """Each option is that of the command line: parts by an element, one stack, single projections."""
    objects = {
        f"S/{i}.dcm": make_dicom.encode(make_dicom.image(i, AcquisitionNumber=i % 2)) for i in range(4)
    }
    assert len(document_of(ask(Bench(objects), "split=AcquisitionNumber"))["volumes"]) == 2
    assert wrong(ask(Bench(), "split=Nothing")) == {"split"}
    assert wrong(ask(Bench(), "stack=7")) == {"stack"}
    films = {f"S/{i}.dcm": make_dicom.encode(make_dicom.image(i, Modality="DX")) for i in range(3)}
    assert len(document_of(ask(Bench(films), "to=nifti"))["volumes"]) == 3
    assert len(document_of(ask(Bench(films)))["volumes"]) == 1


def test_all_that_is_wrong_is_named() -> None:
    """One answer names every wrong parameter."""
    query = "stack=x&values=raw&incomplete=maybe&min_slices=0&root=nowhere&orient=ras&to=png"
    assert wrong(ask(Bench(), query)) == {
        *("stack", "values", "incomplete", "min_slices", "root", "orient", "to")
    }


def test_a_plan_that_has_not_changed_is_not_sent() -> None:
    """The tag is of the index and the options."""
    bench = Bench()
    tag = ask(bench).headers["ETag"]
    assert ask(bench, if_none_match=tag).status == 304
    assert ask(bench, "min_slices=3", if_none_match=tag).status == 200
    bench.memory.put("S/5.dcm", slices(count=5)["S/5.dcm"])
    assert ask(bench, if_none_match=tag).status == 200


def test_a_plan_is_no_longer_than_an_answer() -> None:
    """A plan that is too long is refused with what makes it shorter."""
    document = problem(ask(Bench(answer_limit_bytes=10)), 413, "limit")
    assert "stack" in document["detail"]


def test_the_document_declares_what_is_read() -> None:
    """OpenAPI has exactly the parameters that a plan takes, and no value that is refused."""
    operation = openapi_document()["paths"]["/series/{series}/volumes"]["get"]
    declared = {one["name"]: one["schema"] for one in operation["parameters"] if one["in"] == "query"}
    refused = wrong(ask(Bench(), "&".join(f"{name}=%3F" for name in (*declared, "orient", "limit"))))
    # A keyword is looked up in the series.
    assert refused == {*declared, "orient", "limit"} - {"split"}
    for name, schema in declared.items():
        for value in (*schema.get("enum", ()), *([schema["default"]] if "default" in schema else [])):
            if name != "root":
                read_plan({name: [str(value).lower()]})


def test_formats_are_those_that_are_written() -> None:
    """The choices of `to` are the formats' names."""
    (to,) = [option for option in CONVERT if option.name == "to"]
    assert to.choices == tuple(one.name for one in FORMATS)


def test_a_conversion_is_read_from_texts() -> None:
    """A batch gives options of a conversion as texts; NPZ inverts MONOCHROME1 unless told not to."""
    given = {"to": ["npz"], "orient": ["ras"], "clevel": ["5"], "split": ["EchoTime"]}
    assert read_conversion(given) == Conversion(
        "npz", VolumeOptions(split=("EchoTime",), monochrome1="invert", orient="ras"), clevel=5
    )
    assert read_conversion({"chunks": ["32, 64,64"]}).chunks == (32, 64, 64)
    assert read_conversion({"to": ["npz"], "monochrome1": ["keep"]}).options.monochrome1 == "keep"
    with pytest.raises(RequestError) as caught:
        read_conversion({"chunks": ["1,2"], "clevel": ["10"], "zarr_format": ["1"], "overwrite": ["true"]})
    assert [one.parameter for one in caught.value.errors] == ["chunks", "clevel", "zarr_format", "overwrite"]


def test_planning_loads_no_writer() -> None:
    """A plan needs NumPy only: zarr, numcodecs and nibabel are loaded where a volume is written."""
    script = (
        "import sys, dicom_series_preview.web.http.volumes\n"
        "print(sorted({'zarr', 'numcodecs', 'nibabel', 'isal', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
