"""Parse a message of the catalogue's queue to the indices that it tells of.

S3 tells of indices, and of partial ones, that were written or removed. Our own messages tell of an index to
look at again.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.names import index_folder
from dicom_series_preview.doors.aws.queue_messages import touched_objects
from dicom_series_preview.doors.aws.rechecks import is_no_series
from dicom_series_preview.sources.storage.roots import parse_root

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dicom_series_preview.doors.aws.environment import Deployment

_INDEX = re.compile(r"(indices/[0-9a-f]{32})/(.+)_index\.parquet(?:\.partial)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Look:
    """An index to look at.

    Attributes:
        folder: The folder of its root's indices.
        series: The series' folder below that root.
        swept: It was looked at before when it was gone; no look follows this one.
    """

    folder: str
    series: str
    swept: bool = False

    @property
    def place(self) -> tuple[str, str]:
        """The index, whoever asks to look at it."""
        return self.folder, self.series

    def body(self) -> str:
        """Return the message."""
        return json.dumps({"look": {name: getattr(self, name) for name in ("folder", "series", "swept")}})

    @classmethod
    def from_document(cls, document: Any) -> Look:  # noqa: ANN401 - JSON
        """Read a message.

        Raises:
            ValueError: The message is not ours.
        """
        try:
            look = cls(**document)
            text = f"{look.folder}/{look.series}_index.parquet"
            fits = isinstance(look.swept, bool) and _INDEX.fullmatch(text) is not None
            fits = fits and not is_no_series(look.series.split("/"))
        except (TypeError, AttributeError) as error:
            raise ValueError("the message is no look") from error
        if not fits:
            raise ValueError("the message is no look")
        return look

    def with_(self, other: Look) -> Look:
        """Join two messages about one index: one that was not swept yet wins."""
        return replace(self, swept=self.swept and other.swept)


def looks_of(body: str, deployment: Deployment) -> Iterator[list[Look]]:
    """Yield, for each object in a message, the index to look at; none for one that is no index.

    Raises:
        ValueError: The message is no S3 event and not ours.
    """
    document = json.loads(body)
    if isinstance(document, dict) and "look" in document:
        yield [Look.from_document(document["look"])]
        return
    data = parse_root(deployment.data, deployment.environment)
    prefix = f"{data.prefix}/" if data.prefix else ""
    for touched in touched_objects(document):
        found = None
        if touched.bucket == data.place and touched.key.startswith(prefix):
            found = _INDEX.fullmatch(touched.key.removeprefix(prefix))
        is_one = found is not None and not is_no_series(found[2].split("/"))
        yield [Look(found[1], found[2])] if found is not None and is_one else []


def roots_by_folder(deployment: Deployment) -> Mapping[str, str]:
    """Return the URLs of the deployment's roots by the folders of their indices."""
    urls = [parse_root(url, deployment.environment).url for url in deployment.roots.values()]
    return {index_folder(url): url for url in urls}
