"""Outputs in a bucket: made and proved in a temporary folder, then uploaded, the receipt last.

Whoever reads them trusts an output with a receipt, and no other: without one it is not there. A folder is as
many objects as it has files, and its receipt: no request asks what the run knows already.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dicom_series_preview.base.errors import (
    ObjectChangedError,
    ObjectNotFoundError,
    OutputError,
    RequestError,
    StorageError,
)
from dicom_series_preview.products.volumes.formats.base import UnreadableError
from dicom_series_preview.products.volumes.targets import LocalOutputs, Size, TakenError
from dicom_series_preview.sources.storage.base import ByteRange, is_path
from dicom_series_preview.sources.storage.open import open_storage
from dicom_series_preview.sources.storage.roots import parse_root

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dicom_series_preview.base.settings import Settings
    from dicom_series_preview.products.volumes.formats.base import VolumeFormat
    from dicom_series_preview.products.volumes.targets import Outputs
    from dicom_series_preview.sources.storage.objectstore import ObjectStoreStorage

# NIfTI-Zarr's header: two more objects for 348 bytes.
_LEFT_OUT = "nifti"
_AT_ONCE = 4
_PART_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class RemoteOutputs:
    """A folder in a bucket.

    Attributes:
        storage: It.
        temporary: The folder of this machine in which outputs are made; None for the system's.
    """

    storage: ObjectStoreStorage
    temporary: Path | None = None

    @property
    def shown(self) -> str:
        """Its URL."""
        return self.storage.url

    def target(self, name: str) -> RemoteTarget:
        """Return the place of an output below it."""
        return RemoteTarget(self.storage, name, self.temporary)

    def write(self, name: str, data: bytes) -> None:
        """Write an object below it; see `Outputs.write`."""
        with _as_output_error():
            self.storage.put(name, data)


@dataclass(slots=True)
class RemoteTarget:
    """An output in a bucket: an object, or several below a common prefix, and a receipt.

    Attributes:
        storage: The folder of all outputs.
        path: Its path below that.
        temporary: The folder of this machine in which it is made; None for the system's.
    """

    storage: ObjectStoreStorage
    path: str
    temporary: Path | None = None
    # What the receipt says, once it was looked for: a second request would only ask the same.
    _receipt: dict[str, Any] | None = field(default=None, init=False)
    _is_known: bool = field(default=False, init=False)
    _written: list[str] = field(default_factory=list, init=False)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    @property
    def shown(self) -> str:
        """Its URL."""
        return f"{self.storage.url}/{self.path}"

    @property
    def file(self) -> None:
        """None: it is not on this machine."""
        return

    @property
    def receipt_path(self) -> str:
        """The path of its receipt: in the folder, or beside the file."""
        return f"{self.path}/receipt.json" if self.name.endswith(".zarr") else f"{self.path}.receipt.json"

    def receipt(self, _chosen: VolumeFormat | None = None) -> Mapping[str, Any] | None:
        """Return the receipt that is there, with one request; see `Target.receipt`."""
        with _as_output_error():
            try:
                data = self.storage.get(self.receipt_path).data
            except ObjectNotFoundError as error:
                if "bucket" in error.problem:
                    raise
                self._receipt, self._is_known = None, True
                return None
        # Where it cannot be read, nothing is known of its objects, and only itself is removed.
        self._receipt, self._is_known = {"objects": []}, True
        try:
            found = json.loads(data)
            sound = {**found, "objects": _objects_of(found), "volume": dict(found["volume"])}
        except (ValueError, KeyError, TypeError) as error:
            raise UnreadableError("its receipt is none of this program's") from error
        self._receipt = sound
        return sound

    def size(self) -> Size:
        """Return how much the receipt says there is."""
        objects = self._receipt["objects"] if self._receipt else []
        return Size(sum(one["bytes"] for one in objects), len(objects))

    @contextmanager
    def partial(self) -> Iterator[Path]:
        """Make a temporary folder; see `Target.partial`."""
        with tempfile.TemporaryDirectory(prefix="dicom-series-preview-", dir=self.temporary) as folder:
            yield Path(folder)

    def put(self, folder: Path, receipt: Mapping[str, Any], beside: Mapping[str, bytes]) -> Size:
        """Upload what is finished; see `Target.put`.

        What is there is removed first, its receipt before all: no reader takes old and new together for one.
        """
        with _as_output_error():
            self._remove()
            for name, data in beside.items():
                self.storage.put(name, data)
            try:
                objects = self._upload(folder)
                document = json.dumps({**receipt, "objects": objects}, indent=2, ensure_ascii=False)
                self.storage.put(self.receipt_path, document.encode(), if_version="")
            except ObjectChangedError as error:
                self._give_way()
                raise TakenError from error
        return Size(sum(one["bytes"] for one in objects), len(objects))

    def fetch(self, folder: Path) -> Path:
        """Download it into a folder, each object compared with the receipt; return its path there.

        Raises:
            UnreadableError: It has no receipt, or an object is not what the receipt says.
            OutputError: It cannot be read.
        """
        if self.receipt() is None or self._receipt is None:
            raise UnreadableError("it has no receipt: it is not there, or was not finished")
        with _as_output_error():
            for one in self._receipt["objects"]:
                file = folder / one["path"]
                if not is_path(one["path"]):
                    raise UnreadableError("its receipt names no objects")
                file.parent.mkdir(parents=True, exist_ok=True)
                if self._download(one, file) != one["sha256"]:
                    raise UnreadableError(f"{one['path']} is not what its receipt says")
        return folder / self.name

    def _download(self, one: Mapping[str, Any], file: Path) -> str:
        """Write an object to a file; return its SHA-256."""
        digest = hashlib.sha256()
        ranges = [
            ByteRange(self._above + one["path"], start, min(start + _PART_BYTES, one["bytes"]))
            for start in range(0, one["bytes"], _PART_BYTES)
        ]
        with file.open("xb") as stream:
            for wanted in ranges:
                (found,) = self.storage.fetch([wanted])
                if isinstance(found.error, ObjectNotFoundError):
                    return ""
                if found.error is not None:
                    raise found.error
                digest.update(found.data)
                stream.write(found.data)
        return digest.hexdigest()

    @property
    def _above(self) -> str:
        """The folder that it lies in, with a slash; or empty."""
        return self.path.removesuffix(self.name)

    def _upload(self, folder: Path) -> list[dict[str, Any]]:
        """Upload files, those last by which a reader finds the others; return what they are."""
        names = [one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()]
        kept = sorted((name for name in names if name.split("/")[1:2] != [_LEFT_OUT]), key=_order)

        def put(name: str) -> dict[str, Any]:
            file = folder / name
            return {"path": name, "bytes": file.stat().st_size, "sha256": self._put_file(name, file)}

        first = [name for name in kept if not _is_metadata(name)]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="upload") as pool:
            found = list(pool.map(put, first))
        return found + [put(name) for name in kept[len(first) :]]

    def _put_file(self, name: str, file: Path) -> str:
        """Upload a file; return its SHA-256.

        What lies there already is of a run that was killed, or of one beside this: nobody has removed a
        receipt of it, so that one which is there now must not lose its objects.
        """
        path = self._above + name
        self._written.append(name)
        try:
            return self.storage.put_file(path, file, is_new=True)
        except ObjectChangedError:
            if self.receipt() is not None:
                raise
        return self.storage.put_file(path, file)

    def _remove(self) -> None:
        """Remove the output that is there: its receipt first, then what readers look for."""
        if not self._is_known:
            with suppress(UnreadableError):
                self.receipt()
        if self._receipt is None:
            return
        self.storage.delete(self.receipt_path)
        for one in reversed(self._receipt["objects"]):
            self.storage.delete(self._above + one["path"])
        self._receipt = None

    def _give_way(self) -> None:
        """Remove a receipt that came meanwhile if an object is not as it says: this run wrote over it."""
        with suppress(UnreadableError):
            self.receipt()
        objects = self._receipt["objects"] if self._receipt else []
        if any(one["path"] in self._written and not self._is_there(one) for one in objects):
            self.storage.delete(self.receipt_path)

    def _is_there(self, one: Mapping[str, Any]) -> bool:
        """Return True where an object is what a receipt says."""
        try:
            data = self.storage.get(self._above + one["path"]).data
        except ObjectNotFoundError:
            return False
        return bool(hashlib.sha256(data).hexdigest() == one["sha256"])


def files_of(storage: ObjectStoreStorage, path: str) -> list[str]:
    """Return the paths of an output's objects, its receipt last; none without a receipt.

    Args:
        storage: The folder of all outputs.
        path: The output's path below it.
    """
    target = RemoteTarget(storage, path)
    with suppress(UnreadableError):
        receipt = target.receipt()
        if receipt is not None:
            above = path.removesuffix(target.name)
            return [*(above + one["path"] for one in receipt["objects"]), target.receipt_path]
    return []


def open_outputs(place: str, settings: Settings, environment: Mapping[str, str]) -> Outputs:
    """Open a folder of outputs.

    Args:
        place: A folder's path, `file://` or `s3://bucket[/prefix]`.
        settings: Concurrency, retries and timeouts.
        environment: The AWS variables.

    Raises:
        RequestError: It has another form.
        StorageError: Credentials are missing.
    """
    if "://" not in place:
        return LocalOutputs(Path(place))
    root = parse_root(place, environment)
    if root.kind == "http":
        raise RequestError("output", f"{root.url} cannot be written; give a folder or s3://")
    if root.kind == "local":
        return LocalOutputs(Path(root.place))
    return RemoteOutputs(cast("ObjectStoreStorage", open_storage(place, settings, environment)))


def folder_and_name(place: str) -> tuple[str, str]:
    """Return the folder of an output and its name there, of its path or URL.

    Raises:
        RequestError: It is a bucket.
    """
    if "://" not in place:
        return str(Path(place).parent), Path(place).name
    folder, _, name = place.rpartition("/")
    if not name or folder.endswith(("/", ":")):
        raise RequestError("output", f"{place} names no object; give s3://bucket/name")
    return folder, name


@contextmanager
def _as_output_error() -> Iterator[None]:
    """Say of the storage's errors inside that they are of the output's, not of the source's."""
    try:
        yield
    except StorageError as error:
        raise OutputError(error.url, error.problem) from error


def _objects_of(receipt: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - what an object holds
    return [
        {"path": str(one["path"]), "bytes": int(one["bytes"]), "sha256": str(one["sha256"])}
        for one in receipt["objects"]
    ]


def _is_metadata(name: str) -> bool:
    """Return True for what tells a reader that there is an array, or a volume."""
    last = name.rpartition("/")[2]
    return last.startswith(".") or last.endswith(".json")


def _order(name: str) -> tuple[bool, int, str]:
    return _is_metadata(name), -name.count("/"), name
