"""A deployment that runs batches, over storages in memory."""

import json
from typing import Any

import doubles
import make_dicom
from dicom_series_preview.base.errors import StorageError
from dicom_series_preview.doors.aws.batch_host import batch_host
from dicom_series_preview.doors.aws.environment import Deployment
from dicom_series_preview.products.batches.documents import keep_request
from dicom_series_preview.products.batches.host import BatchHost
from dicom_series_preview.products.batches.item import run_item
from dicom_series_preview.products.batches.outcomes import read_outcomes
from dicom_series_preview.products.batches.prepare import check_source, prepare
from dicom_series_preview.products.batches.request import BatchRequest
from dicom_series_preview.sources.storage.memory import MemoryStorage

ID = "0b5a1c2e-7a1d-4c59-9a10-2f6f5c0d9e01"
EARLIER = "0b5a1c2e-7a1d-4c59-9a10-2f6f5c0d9e02"
ROOTS = {"default": "s3://archive", "other": "s3://other"}
SECRET = "Zwiebelfisch^Leonora"


def slices(folder: str, count: int = 2) -> dict[str, bytes]:
    """A small series."""
    return {
        f"{folder}/{i}.dcm": make_dicom.encode(make_dicom.image(i, PatientName=SECRET))
        for i in range(1, count + 1)
    }


class Setting:
    """A deployment over storages of the test's own."""

    def __init__(
        self, objects: dict[str, bytes] | None = None, depth: int = 1, data: str = "s3://data"
    ) -> None:
        self.root = MemoryStorage(
            {**slices("a"), **slices("b")} if objects is None else objects, url="s3://archive"
        )
        self.data = MemoryStorage(url=data)
        self.manifests = MemoryStorage(url="s3://lists")
        opened = {
            "s3://archive": self.root,
            "s3://other": MemoryStorage(slices("c"), url="s3://other"),
            data: self.data,
            "s3://lists": self.manifests,
        }
        self.deployment = Deployment(ROOTS, data, depth, {}, opened)

    @property
    def host(self) -> BatchHost:
        """The deployment as its batches see it."""
        return batch_host(self.deployment)

    def prepare(self, document: Any) -> list[dict[str, Any]]:
        """The items of a request."""
        keep_request(ID, document, self.host.data)
        prepared = prepare(ID, self.host)
        items = self.kept("items.json")
        assert prepared["count"] == len(items)
        return items

    def names(self, document: Any) -> list[str]:
        """The series of a request."""
        return [item["series"] for item in self.prepare(document)]

    def manifest(self, name: str, content: bytes) -> list[str]:
        """The series of a manifest."""
        self.manifests.put(f"of/{name}", content)
        return self.names({"manifest": f"s3://lists/of/{name}"})

    def check(self, **document: Any) -> None:
        """Look whether a batch's series can be read."""
        check_source(BatchRequest.from_document(document, self.host), self.host)

    def kept(self, name: str, of: str = ID) -> Any:
        """A JSON document of a batch."""
        return json.loads(self.data.get(f"batches/{of}/{name}").data)

    def keep(self, name: str, document: Any, of: str = ID) -> None:
        """Write one."""
        self.data.put(f"batches/{of}/{name}", json.dumps(document).encode())

    def run(self, series: str, root: str = "default", **mosaic: list[str]) -> dict[str, Any]:
        """Do one item."""
        return run_item(ID, {"root": root, "series": series, "mosaic": mosaic}, self.host)

    def outcomes(self) -> dict[str, dict[str, Any]]:
        """The outcomes by series."""
        return {outcome["series"]: outcome for outcome in read_outcomes(ID, self.host.data)}


class Failing(doubles.Wrapper):
    """A storage that fails with an error as long as it has one, wherever its objects are asked for."""

    error: StorageError | None = None

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error

    def list_objects(self, folder: str, most: int | None = None) -> Any:
        """`Storage.list_objects`."""
        self._fail()
        return super().list_objects(folder, most)

    def fetch(self, ranges: Any) -> Any:
        """`Storage.fetch`."""
        self._fail()
        return super().fetch(ranges)

    def put(self, path: str, data: bytes, **options: Any) -> str:
        """`Storage.put`."""
        self._fail()
        return super().put(path, data, **options)


def failing(setting: Setting, root: str) -> Failing:
    """Let one of the storages fail."""
    storage = setting.deployment._opened[root] = Failing(setting.deployment._opened[root])
    return storage
