"""A deployment whose indices are brought up to date by events, over storages in memory."""

import json
from dataclasses import replace
from typing import Any
from urllib.parse import quote_plus

import doubles
import make_dicom
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.names import index_folder, index_path
from dicom_series_preview.base.errors import AccessDeniedError
from dicom_series_preview.doors.aws.batch_host import batch_host
from dicom_series_preview.doors.aws.environment import Deployment
from dicom_series_preview.doors.aws.rechecks import Recheck
from dicom_series_preview.doors.aws.updates import update_indices
from dicom_series_preview.products.batches.item import run_item
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.web.http.messages import HttpRequest

SECRET = "Zwiebelfisch^Leonora"
BATCH = "00000000-0000-0000-0000-000000000000"


class Setting:
    """A deployment over storages of the test's own.

    Args:
        roots: By alias, a root's URL.
        depth: How deep series lie.
    """

    def __init__(self, roots: dict[str, str] | None = None, depth: int = 1, wrap: Any = None) -> None:
        roots = roots or {"default": "s3://archive"}
        self.memory = {alias: MemoryStorage(url=url) for alias, url in roots.items()}
        wrap = wrap or (lambda storage: storage)
        self.storages = {
            alias: doubles.CountingStorage(wrap(memory)) for alias, memory in self.memory.items()
        }
        self.data = MemoryStorage(url="s3://data")
        self.queue = Sent()
        opened = {url: self.storages[alias] for alias, url in roots.items()}
        self.deployment = Deployment(
            roots, "s3://data", depth, {}, {**opened, "s3://data": self.data}, queue=self.queue
        )
        self.time_left_s = lambda: 300.0

    def put(self, *paths: str, alias: str = "default") -> None:
        """Write a slice at each path."""
        for path in paths:
            number = 1 + len(self.memory[alias].list_objects(""))
            self.memory[alias].put(path, make_dicom.encode(make_dicom.image(number, PatientName=SECRET)))

    def known(self, *paths: str) -> None:
        """Write a slice at each path, and tell of the first, so that their indices are there."""
        self.put(*paths)
        self.update(notification(paths[0]))

    def remove(self, *paths: str, alias: str = "default") -> None:
        """Remove objects without telling anyone."""
        for path in paths:
            self.memory[alias].delete(path)

    def see(self, url: str, storage: Any) -> None:
        """Let the deployment see another storage at a URL."""
        self.deployment._opened[url] = storage

    def limit(self, **limits: int) -> None:
        """Let the deployment have other limits."""
        settings = self.deployment.settings
        settings = replace(settings, limits=replace(settings.limits, **limits))
        self.deployment = replace(self.deployment, settings=settings)

    def batch(self, series: str) -> dict[str, Any]:
        """The outcome of a batch's mosaic of a series."""
        item = {"root": "default", "series": series, "mosaic": {}}
        return run_item(BATCH, item, batch_host(self.deployment))

    def update(self, *bodies: Any) -> Any:
        """Handle messages `0`, `1` and so on, counting from nothing."""
        for storage in self.storages.values():
            storage.reset()
        texts = {str(i): body if isinstance(body, str) else json.dumps(body) for i, body in enumerate(bodies)}
        return update_indices(texts, self.deployment, self.time_left_s, self.queue)

    def update_again(self) -> Any:
        """Handle the rechecks that have been sent, all in one batch."""
        sent, self.queue.sent = self.queue.sent, []
        return self.update(*(recheck.body() for recheck, _ in sent))

    def update_at_once(self) -> None:
        """Handle the rechecks that come at once, and those that they bring; later ones stay."""
        while at_once := [sent for sent in self.queue.sent if not sent[1]]:
            later = [sent for sent in self.queue.sent if sent[1]]
            self.queue.sent = at_once
            self.update_again()
            self.queue.sent += later

    def kept(self, below: str = "") -> list[str]:
        """What the data bucket holds."""
        return [info.path for info in self.data.list_objects(below)]

    def index(self, series: str = "s") -> Index:
        """A series' index."""
        return Index.from_parquet(self.data.get(place(series)).data)

    def indices(self) -> dict[str, list[str]]:
        """What each index has: by series, below `indices` and any other root's alias than `default`."""
        folders = {
            index_folder(url): "indices" if alias == "default" else f"indices/{alias}"
            for alias, url in self.deployment.roots.items()
        }
        return {
            _replaced(path.removesuffix("_index.parquet"), folders): sorted(
                Index.from_parquet(self.data.get(path).data).table["FileName"].to_pylist()
            )
            for path in self.kept()
            if path.endswith("_index.parquet")
        }


def place(series: str) -> str:
    """Where the index of a series of the default root lies."""
    return index_path(series, index_folder("s3://archive"))


def _replaced(path: str, folders: dict[str, str]) -> str:
    """The path with its root's folder replaced."""
    (folder,) = (folder for folder in folders if path.startswith(f"{folder}/"))
    return path.replace(folder, folders[folder], 1)


class Sent:
    """A queue that notes what it is sent.

    Attributes:
        sent: Rechecks, and after how many seconds they come.
        fails: It takes none.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[Recheck, int]] = []
        self.fails = False

    def send(self, rechecks: Any) -> list[Recheck]:
        """`Queue.send`."""
        if self.fails:
            return [recheck for recheck, _ in rechecks]
        self.sent += rechecks
        return []


def notification(
    *keys: str, bucket: str = "archive", encode: bool = True, name: str = "ObjectCreated:Put"
) -> dict[str, Any]:
    """S3's notification of objects."""
    return {
        "Records": [
            {
                "eventName": name,
                "s3": {
                    "bucket": {"name": bucket},
                    "object": {"key": quote_plus(key, safe="/") if encode else key},
                },
            }
            for key in keys
        ]
    }


def bridged(key: str, bucket: str = "archive", kind: str = "Object Created") -> dict[str, Any]:
    """S3's event on EventBridge."""
    return {"detail-type": kind, "detail": {"bucket": {"name": bucket}, "object": {"key": key}}}


class Linking(doubles.Wrapper):
    """A storage that makes links."""

    def link(self, path: str, expires_s: int) -> str | None:
        """A link that nobody follows."""
        return f"https://data.example.org/{path}?expires={expires_s}"


class Pictures:
    """The pictures of two series and their batches' mosaics, rendered as the API and a batch render them."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.setting.put("s/1.dcm", "s/2.dcm", "s/3.dcm", "t/1.dcm")
        self.setting.update(notification("s/1.dcm", "t/1.dcm"))
        self.render("t")
        self.of_t = self.of(self.setting.kept())
        self.render("s")

    def render(self, series: str) -> None:
        """Keep a picture and a batch's mosaic of a series."""
        deployment = self.setting.deployment
        request = HttpRequest(series, {"position": ["0"]})
        assert deployment.api().picture("image", request).status == 200
        data = deployment.storage("s3://data")
        assert data.get(self.setting.batch(series)["picture"]).data

    @staticmethod
    def of(paths: list[str]) -> list[str]:
        """Those of them that are pictures."""
        return [path for path in paths if path.endswith(".webp")]


class Closed(doubles.Wrapper):
    """A storage that may be listed, and not read."""

    def fetch(self, ranges: Any) -> Any:
        """Nothing."""
        for fetched in super().fetch(ranges):
            yield replace(fetched, data=b"", error=AccessDeniedError("s3://archive/s"))


class Killed(BaseException):
    """What no function catches."""
