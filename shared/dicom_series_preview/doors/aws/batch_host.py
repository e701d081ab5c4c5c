"""The deployment in its role as the host of its batches."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from dicom_series_preview.archive.names import SeriesName, refuse_root
from dicom_series_preview.base.errors import AccessDeniedError, LimitError, NoImageError, ObjectChangedError
from dicom_series_preview.doors.aws.rechecks import Recheck, send_all
from dicom_series_preview.products.batches.host import BatchHost, Indexed, Mosaic
from dicom_series_preview.products.pictures.requests import IndexRequest, MosaicRequest
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.web.http.volume_options import CONVERT, read_conversion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dicom_series_preview.doors.aws.environment import Deployment
    from dicom_series_preview.products.batches.host import Converted, Item, VolumeItem
    from dicom_series_preview.sources.storage.objectstore import ObjectStoreStorage

_MOSAIC_NAME = "mosaic.webp"
_NO_ACCESS = (
    "cannot be read: access denied, or it is not there. Put it below manifests/ in the data bucket or below "
    "DicomPrefix beside the series, or name its bucket in the deployment's parameter ManifestBucketArns"
)


def batch_host(deployed: Deployment) -> BatchHost:
    """Build the batch host of a deployment."""
    return BatchHost(
        roots=deployed.roots,
        data_url=deployed.data,
        open=deployed.storage,
        mosaics=_Mosaics(deployed),
        volumes=_Volumes(deployed),
        series_depth=deployed.series_depth,
        most_series=deployed.batch_series,
        manifest_hint=_NO_ACCESS,
    )


@dataclass(frozen=True, slots=True)
class _Volumes:
    """Converts series with the deployment's services.

    Attributes:
        deployed: The deployment.
    """

    deployed: Deployment

    @property
    def options(self) -> frozenset[str]:
        """The names of options; see `Volumes.options`."""
        return frozenset(option.name for option in CONVERT)

    def check(self, options: Mapping[str, Sequence[str]]) -> None:
        """Check options; see `Volumes.check`."""
        read_conversion(options)

    def files(self, output: str) -> list[str]:
        """List an output's files; see `Volumes.files`."""
        from dicom_series_preview.products.volumes.upload import files_of  # noqa: PLC0415 - few requests need it

        data = cast("ObjectStoreStorage", self.deployed.storage(self.deployed.data))
        return files_of(data, output) if output else []

    def make(self, item: VolumeItem, seconds: float) -> Converted:
        """Convert a series; see `Volumes.make`."""
        from dicom_series_preview.doors.aws.batch_volumes import converted  # noqa: PLC0415 - only one function has what it needs

        return converted(item, self.deployed, seconds)


@dataclass(frozen=True, slots=True)
class _Mosaics:
    """Makes mosaics with the deployment's services.

    Attributes:
        deployed: The deployment.
    """

    deployed: Deployment

    def check(self, options: Mapping[str, Sequence[str]]) -> None:
        """Check options; see `Mosaics.check`."""
        MosaicRequest.from_strings("series", _MOSAIC_NAME, options)

    def make(self, item: Item, seconds: float) -> Mosaic:
        """Make a mosaic; see `Mosaics.make`."""
        service = self.deployed.service(item.root)
        limits = replace(service.limits, seconds=min(service.limits.seconds, seconds))
        asked = MosaicRequest.from_strings(item.series, _MOSAIC_NAME, item.mosaic)
        refuse_root(asked.series)
        rendered = replace(service, limits=limits).render(asked)
        report = rendered.report
        return Mosaic(
            root=service.storage.url,
            folders=report.folders,
            series_uid=report.series_uid,
            data=rendered.data,
            media_type=rendered.image_format.media_type,
            slices=report.slices,
            skipped=len(report.skipped),
            index_source=report.index_source,
            requests=report.cost.list_requests + report.cost.get_requests,
            bytes=report.cost.bytes,
        )

    def index(self, item: Item, seconds: float) -> Indexed:
        """Bring an index up to date; see `Mosaics.index`."""
        service = self.deployed.service(item.root)
        asked = IndexRequest(SeriesName.parse(item.series))
        refuse_root(asked.series)
        limits = replace(service.limits, seconds=min(service.limits.seconds, seconds))
        service = replace(service, limits=limits).within(Deadline())
        watch = service.watch()
        try:
            opened = service.index(asked)
        except (NoImageError, LimitError, AccessDeniedError) as error:
            # Whoever handles events keeps why there is no index, and so the catalogue can tell.
            series = error.series if isinstance(error, NoImageError) else asked.series.text
            if self.deployed.queue is not None:
                send_all(self.deployed.queue, [(Recheck(item.root, series), 0)])
            raise
        if opened.source == "cache" and service.cache is not None:
            # S3 tells the catalogue of what is written, whenever the index was made.
            with suppress(ObjectChangedError):
                service.cache.save(opened.name, opened.index, opened.kept_version)
        cost = watch.cost()
        return Indexed(
            slices=opened.index.table.num_rows,
            skipped=len(opened.index.provenance.skipped),
            index_source=opened.source,
            requests=cost.list_requests + cost.get_requests,
            bytes=cost.bytes,
        )
