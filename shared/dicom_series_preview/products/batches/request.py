"""The request for a batch: which series, below which root, and the options of their mosaics or volumes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.names import DEFAULT_ROOT_ALIAS, LONE_SURROGATE, SeriesName, refuse_root
from dicom_series_preview.base.errors import CombinedRequestError, RequestError, SeriesNameError
from dicom_series_preview.products.batches.places import is_batch_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dicom_series_preview.products.batches.host import BatchHost, Mosaics, Volumes

INLINE_LIMIT = 1000
_MANIFEST = re.compile(r"s3://[^/]+/.+")
_SOURCES = ("series", "manifest", "prefix", "rerun")
KINDS = ("preview", "convert")
FIELDS = {*_SOURCES, "no_preview", "refused", "root", "kind", "mosaic", "catalogue"}
"""The fields of a batch beside the options of volumes."""


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """A request for a batch.

    Attributes:
        root: The alias of the series' root.
        series: The series, named one by one.
        manifest: The `s3://` URL of a CSV with a column `series`, or of a JSON array.
        prefix: The prefix of the series below the root; empty for all.
        rerun: A batch whose failed or missing series run again, with its own root and options.
        no_preview: The rerun includes series without a preview.
        refused: The rerun includes series of which nothing was made a volume.
        mosaic: Options of the mosaics, as in the HTTP API.
        catalogue: Only the indices are made, for the catalogue, and no mosaics.
        kind: `preview`, or `convert` into volumes.
        volumes: Options of the volumes, as in the HTTP API.
    """

    root: str = DEFAULT_ROOT_ALIAS
    series: tuple[str, ...] = ()
    manifest: str | None = None
    prefix: str | None = None
    rerun: str | None = None
    no_preview: bool = False
    refused: bool = False
    mosaic: Mapping[str, Sequence[str]] = field(default_factory=dict)
    catalogue: bool = False
    kind: str = KINDS[0]
    volumes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def from_document(cls, document: Any, host: BatchHost) -> BatchRequest:  # noqa: ANN401 - JSON
        """Validate a JSON document.

        Args:
            document: The document.
            host: The batch's host.

        Raises:
            RequestError: The document is wrong; one error has all reasons.
        """
        if not isinstance(document, dict):
            raise RequestError("body", f"is a JSON object with one of {', '.join(_SOURCES)}")
        mosaic, wrong = _mosaic_options(document.get("mosaic"), host.mosaics)
        volumes, wrong_volumes = _volume_options(document, host.volumes)
        wrong += wrong_volumes
        problems = [
            *_wrong_fields(document, host.volumes),
            *_wrong_values(document, host),
            *_wrong_rerun(document),
            *wrong,
        ]
        if len(problems) == 1:
            raise problems[0]
        if problems:
            raise CombinedRequestError(tuple(problems))
        return cls(
            root=document.get("root", DEFAULT_ROOT_ALIAS),
            series=tuple(document.get("series") or ()),
            manifest=document.get("manifest"),
            prefix=document.get("prefix"),
            rerun=document.get("rerun"),
            no_preview=document.get("no_preview", False),
            refused=document.get("refused", False),
            mosaic=mosaic,
            catalogue=document.get("catalogue", False),
            kind=document.get("kind", KINDS[0]),
            volumes=volumes,
        )


def _wrong_fields(document: Mapping[str, Any], volumes: Volumes) -> list[RequestError]:
    """Return the errors about unknown fields, or not exactly one source of series."""
    known = FIELDS | volumes.options
    problems = [
        RequestError(str(name), "is not a field of a batch") for name in document if name not in known
    ]
    given = [name for name in _SOURCES if document.get(name) is not None]
    if len(given) != 1:
        problems.append(RequestError("body", f"needs exactly one of {', '.join(_SOURCES)}"))
    return problems


def _wrong_values(document: Mapping[str, Any], host: BatchHost) -> list[RequestError]:
    """Return the errors about names: of series, the root, a manifest or an earlier batch."""
    problems = _wrong_series(document.get("series"))
    texts = [name for name in ("root", "manifest", "prefix", "rerun") if name in document]
    problems += [RequestError(name, "is text") for name in texts if not _is_text(document[name])]
    root = document.get("root", DEFAULT_ROOT_ALIAS)
    if isinstance(root, str) and root not in host.roots:
        aliases = ", ".join(sorted(host.roots))
        problems.append(RequestError("root", f"is one alias of this deployment: {aliases}"))
    manifest = document.get("manifest")
    if isinstance(manifest, str) and not _MANIFEST.fullmatch(manifest):
        problems.append(RequestError("manifest", "is an s3:// URL of a CSV or a .json"))
    rerun = document.get("rerun")
    if isinstance(rerun, str) and not is_batch_id(rerun):
        problems.append(RequestError("rerun", "is the identifier of a batch"))
    return problems


def _wrong_rerun(document: Mapping[str, Any]) -> list[RequestError]:
    """Return the errors about fields that do not go together: with a rerun, or with the catalogue."""
    problems = []
    rerun = document.get("rerun")
    for name in ("no_preview", "refused"):
        wanted = document.get(name, False)
        if not isinstance(wanted, bool) or (wanted and rerun is None):
            problems.append(RequestError(name, "is true or false, and goes with rerun"))
    kind = document.get("kind", KINDS[0])
    if kind not in KINDS:
        problems.append(RequestError("kind", f"is one of {', '.join(KINDS)}"))
    elif kind == "convert":
        problems += [
            RequestError(name, "is of batches that preview; leave it out")
            for name in ("mosaic", "catalogue")
            if document.get(name)
        ]
    catalogue = document.get("catalogue", False)
    if not isinstance(catalogue, bool):
        problems.append(RequestError("catalogue", "is true or false"))
    elif catalogue and document.get("mosaic") is not None:
        problems.append(RequestError("catalogue", "makes no mosaics; leave `mosaic` out"))
    if rerun is not None:
        problems += [
            RequestError(name, "is that of the batch that is done again; leave it out")
            for name in ("root", "kind", "mosaic", "catalogue")
            if name in document
        ]
    return problems


def _is_text(value: Any) -> bool:  # noqa: ANN401 - JSON
    """Return True for text of whole characters; JSON's escapes allow halves."""
    return isinstance(value, str) and not LONE_SURROGATE.search(value)


def _wrong_series(series: Any) -> list[RequestError]:  # noqa: ANN401 - JSON
    """Return the errors about series named one by one."""
    if series is None:
        return []
    if not isinstance(series, list) or not all(isinstance(name, str) for name in series):
        return [RequestError("series", "is a list of names")]
    if not series:
        # An empty list does not mean everything: the empty prefix does.
        return [RequestError("series", "names no series")]
    if len(series) > INLINE_LIMIT:
        return [RequestError("series", f"names at most {INLINE_LIMIT} series; use a manifest for more")]
    problems = []
    for name in series:
        try:
            refuse_root(SeriesName.parse(name))
        except SeriesNameError as error:
            problems.append(error)
    return list(problems)


def _volume_options(
    document: Mapping[str, Any], volumes: Volumes
) -> tuple[dict[str, list[str]], list[RequestError]]:
    """Return the volumes' options in a request's form, and the errors in them."""
    given = {name: document[name] for name in sorted(volumes.options) if name in document}
    if document.get("kind") != "convert":
        return {}, [RequestError(name, "goes with kind convert") for name in given]
    return _checked(given, volumes.check)


def _mosaic_options(
    given: Any,  # noqa: ANN401 - JSON
    mosaics: Mosaics,
) -> tuple[dict[str, list[str]], list[RequestError]]:
    """Return the mosaics' options in a request's form, and the errors in them."""
    if given is None:
        return {}, []
    if not isinstance(given, dict):
        return {}, [RequestError("mosaic", "is an object of options")]
    return _checked(given, mosaics.check)


def _checked(
    given: Mapping[str, Any], check: Callable[[Mapping[str, Sequence[str]]], None]
) -> tuple[dict[str, list[str]], list[RequestError]]:
    """Return options in a request's form, and the errors in them."""
    options = {
        str(name): [str(value) for value in values] if isinstance(values, list) else [str(values)]
        for name, values in given.items()
    }
    try:
        check(options)
    except CombinedRequestError as error:
        return {}, list(error.errors)
    except RequestError as error:
        return {}, [error]
    return options, []
