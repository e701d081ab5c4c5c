"""What is planted in the tests' headers, folders and buckets, and must come out nowhere.

Every log record of the tests' process, every line and metric that a function writes, and every answer that
the tests' own clients get is looked through; a planted value fails the test that saw it.
"""

import copy
import io
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

DESCRIPTION = "Verlauf nach Sturz"
PATIENT = {
    "PatientName": "Zwiebelfisch^Leonora",
    "PatientID": "PID-4711-0815",
    "PatientBirthDate": "19470229",
    "AccessionNumber": "ACC-998877",
    "InstitutionName": "Klinik am Nordpol",
    "SeriesDescription": DESCRIPTION,
}
OF_PATIENTS = ("Zwiebelfisch", "Leonora", "4711-0815", "19470229", "998877", "Nordpol", DESCRIPTION)
# The folders of series that no word of the product's own is a part of.
FOLDERS = (
    *("38902e14-b11f-4548-910e-771ee757dc82", "one-slice-cut-off", "reports-only", "being-indexed"),
    *("1.2.840.99.1", "file-in-the-root", "beside-poison", "several-a", "group-1"),
    *("Mustermann-Erika", "Schädel"),
)
BUCKETS = (
    *("dicom-archive", "dicom-other", "preview-data", "clinics-bucket", "of-patients", "memory://"),
    *("planted-bucket", "planted-host"),
)
# What the catalogue's rows tell all the same, as docs/privacy.md says.
_IN_ROWS = (DESCRIPTION, "Nordpol")
EVERYTHING = (*OF_PATIENTS, *FOLDERS, *BUCKETS)

# They log what the tests' own clients and servers do.
_OTHERS = frozenset(
    ("asyncio", "boto3", "botocore", "cheroot", "moto", "s3transfer", "urllib3", "werkzeug", "wsgidav")
)


def found(text: str, values: Iterable[str] = EVERYTHING) -> list[str]:
    """The planted values in a text."""
    return [value for value in values if value in text]


def check(what: str, text: str, values: Iterable[str] = EVERYTHING) -> None:
    """Fail where a text holds a planted value."""
    assert not found(text, values), f"{what} tells {found(text, values)}: {text}"


def check_answer(headers: Mapping[str, str], body: bytes) -> None:
    """Fail where an HTTP answer tells a patient's value or where a root lies.

    The whole index gives back every header, to those who ask for it, and yet no root; a link to what is kept
    names the data bucket, as it must. The catalogue's rows have descriptions and institutions.
    """
    named = {name.lower(): value for name, value in headers.items()}
    named.pop("location", None)
    media_type = named.get("content-type", "")
    text = body.decode("utf-8", "replace")
    if media_type == "application/vnd.apache.parquet" and body:  # HEAD has none
        import pyarrow.parquet as pq  # noqa: PLC0415 - the environment of the deployment's tests has none

        table = pq.read_table(io.BytesIO(body))
        text = f"{table.to_pylist()} {table.schema.metadata}"
    is_whole = "parquet" in media_type or "jsonl" in media_type or ("json" in media_type and text[:1] == "[")
    check("a header", json.dumps(named), (*OF_PATIENTS, *BUCKETS))
    has_rows = '"SeriesDescription": ' in text or "csv" in media_type
    secrets = [value for value in OF_PATIENTS if not (has_rows and value in _IN_ROWS)]
    check("an answer", text, BUCKETS if is_whole else (*secrets, *BUCKETS))


@contextmanager
def watched_log() -> Iterator[list[str]]:
    """The lines that hold a planted value, of all that is logged in this process while the context lasts.

    What is changed of the package's own logger meanwhile is put back: a command sends it to its own output.
    """
    lines: list[str] = []
    before = logging.getLogRecordFactory()
    package = logging.getLogger("dicom_series_preview")
    level, handlers, propagate = package.level, package.handlers, package.propagate

    def watching(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = logging.LogRecord(*args, **kwargs)
        if record.name.partition(".")[0] not in _OTHERS:
            line = logging.Formatter().format(copy.copy(record))
            if found(line):
                lines.append(f"{record.name}: {line}")
        return record

    logging.setLogRecordFactory(watching)
    package.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        logging.setLogRecordFactory(before)
        package.setLevel(level)
        package.handlers, package.propagate = handlers, propagate
