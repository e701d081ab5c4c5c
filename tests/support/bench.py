"""An API over storages of the test's own."""

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from pydicom import Dataset

import doubles
import make_dicom
import planted
from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.web.http.api import PreviewApi
from dicom_series_preview.web.http.messages import HttpRequest, HttpResponse
from dicom_series_preview.web.http.problems import PROBLEM_TYPE
from dicom_series_preview.web.http.renders import Renders

ROOT = "s3://the-clinics-bucket/of-patients"
MPEG2 = "1.2.840.10008.1.2.4.100"
PICTURES = {"mosaic": "", "image": "position=0.5", "contrast-mosaic": "position=0.5&contrast=auto"}
RESOURCES = {**PICTURES, "index": ""}


def slices(folder: str = "S", count: int = 4, **elements: Any) -> dict[str, bytes]:
    """A small series with the patient planted in every header."""
    return {f"{folder}/{i}.dcm": one(i, **elements) for i in range(1, count + 1)}


def one(number: int, **elements: Any) -> bytes:
    """One slice of it, `number` mm above the origin."""
    return make_dicom.encode(with_patient(number, **elements))


def with_patient(number: int, **elements: Any) -> Dataset:
    """Its data set."""
    return make_dicom.image(number, **{**planted.PATIENT, **elements})


def undecodable(folder: str) -> dict[str, bytes]:
    """A series that no decoder reads."""
    pixels = make_dicom.encapsulate([[b"no film!"]])
    return {f"{folder}/1.dcm": make_dicom.encode(with_patient(1, PixelData=pixels), MPEG2)}


def reports(folder: str) -> dict[str, bytes]:
    """A series without images."""
    return {f"{folder}/1.dcm": make_dicom.encode(make_dicom.report(1, **planted.PATIENT))}


@dataclass
class Bench:
    """An API, and what it stands on.

    Attributes:
        objects: What lies in the root.
        immutable: What the root says.
        storage: The root, counted; replaces `objects`.
        cache: Where indices are kept.
        renders: Where pictures are kept, or None.
        limits: What is refused.
        answer_limit_bytes: The longest body.
        roots: More roots, by alias.
        wait: What stands for a pause, in which no time goes by.
    """

    objects: dict[str, bytes] = field(default_factory=slices)
    immutable: bool = False
    storage: Any = None
    cache: Any = field(default_factory=lambda: doubles.CountingStorage(MemoryStorage(url="memory://cache")))
    renders: Any = field(
        default_factory=lambda: doubles.CountingStorage(MemoryStorage(url="memory://renders"))
    )
    limits: Limits = field(default_factory=Limits)
    answer_limit_bytes: int = 4_500_000
    roots: dict[str, Any] = field(default_factory=dict)
    wait: Any = lambda _abandoned, _seconds: False

    def __post_init__(self) -> None:
        self.memory = MemoryStorage(self.objects, url=ROOT, immutable=self.immutable)
        if self.storage is None:
            self.storage = doubles.CountingStorage(self.memory)

    @property
    def api(self) -> PreviewApi:
        """The API as of now."""
        services = {"default": lambda: self.service(self.storage, "indices")}
        for alias, storage in self.roots.items():
            services[alias] = lambda alias=alias, storage=storage: self.service(storage, f"indices/{alias}")
        renders = None if self.renders is None else Renders(self.renders)
        return PreviewApi(services, renders, self.answer_limit_bytes)

    def service(self, storage: Any, folder: str) -> PreviewService:
        """The service of a root."""
        cache = IndexCache(self.cache, folder)
        return PreviewService(storage, cache, self.limits, single_flight=True, wait=self.wait)

    def get(self, resource: str, query: str | None = None, series: str = "S", **headers: str) -> HttpResponse:
        """Ask for a resource; keywords are header names with underscores."""
        text = RESOURCES[resource] if query is None else query
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = HttpRequest(series, parse_qs(text, keep_blank_values=True), named)
        answer = self.api.index(request) if resource == "index" else self.api.picture(resource, request)
        planted.check_answer(answer.headers, answer.body)
        return answer

    def ok(self, resource: str, query: str | None = None, **rest: str) -> HttpResponse:
        """Ask for what must be there."""
        response = self.get(resource, query, **rest)
        assert response.status == 200, response.body
        return response

    def pixel_requests(self) -> int:
        """Ranges that were asked for since the counters were reset, headers included."""
        return len(self.storage.ranges)

    def reset(self) -> None:
        """Count from nothing."""
        for storage in (self.storage, self.cache, self.renders):
            if storage is not None:
                storage.reset()


def problem(response: HttpResponse, status: int, kind: str) -> dict[str, Any]:
    """The document of a problem, which must be of a kind and well-formed."""
    document = json.loads(response.body)
    assert (response.status, document["type"]) == (status, PROBLEM_TYPE + kind), document
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert set(document) <= {"type", "title", "status", "detail", "errors"}
    assert "ETag" not in response.headers
    assert_discreet(response)
    return document


def assert_discreet(response: HttpResponse) -> None:
    """Neither the root's address nor anything of a patient is told."""
    text = response.body.decode("latin-1") + json.dumps(dict(response.headers))
    planted.check("an answer", text, (*planted.OF_PATIENTS, *planted.BUCKETS))
