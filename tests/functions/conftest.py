"""The functions, and what their events speak of."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import archive
import lambdas
import searched
import servers
import synthetic
from dicom_series_preview.base.settings import Settings
from dicom_series_preview.sources.storage.open import open_storage
from http_contract import odd_series

# What others write into the data bucket changes nothing of this catalogue.
CATALOGUE = "planted-bucket-catalogue"


@pytest.fixture(scope="session")
def environment(moto: servers.Moto, provided: archive.Archive) -> dict[str, str]:
    """The environment of every function, as the template sets it."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "PYTHONPATH", "LANG", "SSL_CERT_FILE")
        if name in os.environ
    }
    return {
        **kept,
        **moto.environment,
        "AWS_DEFAULT_REGION": moto.environment["AWS_REGION"],
        "PREVIEW_ROOTS": json.dumps(provided.roots),
        "PREVIEW_DATA": f"s3://{archive.DATA}",
        "PREVIEW_SIGNED_BUCKETS": f"arn:aws:s3:::{archive.OTHER}",
        "PREVIEW_AUTH_MODE": "IAM",
        "PREVIEW_SERIES_DEPTH": "1",
        "PREVIEW_BATCH_STATE_MACHINE": provided.machine,
        "PREVIEW_UPDATES_QUEUE": provided.queue,
        "PREVIEW_CATALOGUE_QUEUE": provided.looks,
        "CATALOGUE_COLUMNS": "EchoTime",
        "CATALOGUE_PATIENT": "true",
        "PREVIEW_BATCHES_AT_ONCE": "50",
        "PREVIEW_TRACING": "false",
        "POWERTOOLS_SERVICE_NAME": "previews",
        "POWERTOOLS_METRICS_NAMESPACE": "DicomSeriesPreview",
        "POWERTOOLS_LOG_LEVEL": "INFO",
    }


@pytest.fixture(scope="session")
def provided(moto: servers.Moto) -> Iterator[archive.Archive]:
    """The buckets and series that the events speak of."""
    with archive.provided(moto) as made:
        made.s3.create_bucket(Bucket=CATALOGUE)
        data = open_storage(f"s3://{CATALOGUE}", Settings(Path()), moto.environment)
        searched.catalogue(made.roots["default"], data, synthetic.series(), odd_series())
        yield made


@pytest.fixture(scope="session")
def functions(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, lambdas.Function]]:
    """Every function by its folder's name, each started when it is first asked for."""
    folder = tmp_path_factory.mktemp("functions")
    with ExitStack() as stack:

        class Started(dict[str, lambdas.Function]):
            def __missing__(self, name: str) -> lambdas.Function:
                own = {"PREVIEW_DATA": f"s3://{CATALOGUE}"} if name == "series" else {}
                made = lambdas.started(name, {**environment, **own}, folder / f"{name}.log")
                self[name] = stack.enter_context(made)
                return self[name]

        yield Started()
