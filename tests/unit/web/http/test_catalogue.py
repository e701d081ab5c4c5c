import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs

import pyarrow.parquet as pq
import pytest

import bench
import doubles
import make_dicom
import planted
from bench import Bench, problem, slices
from dicom_series_preview.archive.uids import SeriesPlaces
from dicom_series_preview.base.gate import Gate
from dicom_series_preview.base.settings import Identifiers, Settings
from dicom_series_preview.products.catalogue.search import OF_A_STUDY, PARAMETERS
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.web.http.api import SEARCHES
from dicom_series_preview.web.http.local import open_api
from dicom_series_preview.web.http.messages import HttpRequest, HttpResponse
from dicom_series_preview.web.http.openapi import openapi_document
from searched import DROP, HASH, KEEP, row, storage_of, view_of, write

UID = make_dicom.SERIES_UID
STUDY = "1.2.840.99.0"
ROWS = [
    row(
        1,
        Series="S",
        SeriesInstanceUID=UID,
        Slices=4,
        Modality="CT",
        SeriesNumber=None,
        StudyInstanceUID=STUDY,
    ),
    row(2, Modality="MR", StudyInstanceUID=STUDY, SeriesDescription=planted.DESCRIPTION),
    row(3, Modality="MR", StudyInstanceUID=STUDY, SeriesNumber=1),
    row(4, Root="s3://planted-bucket/other", StudyInstanceUID=STUDY),
]


class Api:
    """The API over a catalogue, and over one series, `S`."""

    def __init__(self, folder: Path, identifiers: Identifiers = DROP, **rest: Any) -> None:
        self.storage = doubles.CountingStorage(storage_of(folder))
        view = view_of(self.storage, identifiers)
        api = Bench(slices("S")).api
        places = SeriesPlaces(MemoryStorage({}), "uids")
        places.add(UID, "S")
        services = {"default": lambda: replace(api.services["default"](), places=places)}
        self.api = replace(api, **{"catalogue": lambda: view, "services": services, **rest})

    def __call__(
        self, query: str = "", series: str | None = None, study: str = "", **headers: str
    ) -> HttpResponse:
        """The answer to a search, or of one series or study."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = HttpRequest(series or study, parse_qs(query, keep_blank_values=True), named)
        return self.api.series(request) if series is None else self.api.one_series(request)

    def document(self, query: str = "", **rest: str) -> dict[str, Any]:
        """The document of an answer that must be one."""
        answer = self(query, **rest)
        assert answer.status == 200, answer.body
        assert answer.headers["Content-Type"] == "application/json"
        return json.loads(answer.body)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache with a catalogue."""
    write(tmp_path, ROWS)
    return tmp_path


@pytest.fixture
def api(folder: Path) -> Api:
    """The API, with identifiers dropped."""
    return Api(folder)


def test_a_page(api: Api) -> None:
    """The answer has rows with keys as the columns, the next page's cursor and the number of all."""
    document = api.document("sort=Series&limit=2")
    assert set(document) == {"series", "next", "total"}
    assert [one["Series"] for one in document["series"]] == ["S", "series-0002"]
    assert (document["total"], document["series"][0]["Root"]) == (3, "default")
    assert document["series"][0]["StudyDate"] == "2026-01-02"
    answer = api(f"sort=Series&limit=2&cursor={document['next']}")
    rest = json.loads(answer.body)
    assert ([one["Series"] for one in rest["series"]], rest["next"]) == (["series-0003"], None)
    assert (answer.headers["Preview-Total"], "Preview-Next" in answer.headers) == ("3", False)
    assert api("limit=1").headers["Preview-Next"] == api.document("limit=1")["next"]


@pytest.mark.parametrize("query", ["", "format=csv", "format=parquet"])
def test_identifiers_are_as_the_door_shows_them(folder: Path, query: str) -> None:
    """In no form do dropped or hashed identifiers come out; kept ones do."""
    secrets = (b"Zwiebelfisch", b"4711-0815", b"998877", b"1947")
    for mode in (DROP, HASH):
        body = Api(folder, mode)(query).body
        assert not [secret for secret in secrets if secret in body]
    assert b"planted-bucket" not in Api(folder, KEEP)(query).body
    if "parquet" not in query:
        assert all(secret in Api(folder, KEEP)(query).body for secret in secrets)


def test_one_patient_has_one_hash(folder: Path) -> None:
    """Hashes tell that series are of one patient, and a search by a hash finds them."""
    api = Api(folder, HASH)
    hashes = {one["PatientID"] for one in api.document()["series"]}
    assert len(hashes) == 1
    assert api.document(f"patient={hashes.pop()}")["total"] == 3


@pytest.mark.parametrize("parameter", ["patient", "accession"])
def test_a_search_by_what_is_dropped(api: Api, parameter: str) -> None:
    """400 says why: nobody finds out by asking whether a patient is there."""
    document = problem(api(f"{parameter}=PID-4711-0815"), 400, "bad-parameter")
    assert document["errors"][0]["parameter"] == parameter
    assert "is dropped here" in document["detail"]


def test_forms(api: Api) -> None:
    """CSV and Parquet have the same rows as JSON; total and cursor are headers there."""
    rows = api.document("sort=Series&limit=2")["series"]
    text = api("sort=Series&limit=2&format=csv")
    assert text.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert text.headers["Content-Disposition"] == 'attachment; filename="series.csv"'
    table = list(csv.DictReader(io.StringIO(text.body.decode(), newline="")))
    assert [one["Series"] for one in table] == [one["Series"] for one in rows]
    assert list(table[0]) == list(rows[0])
    parquet = api("sort=Series&limit=2&format=parquet")
    assert parquet.headers["Content-Type"] == "application/vnd.apache.parquet"
    assert pq.read_table(io.BytesIO(parquet.body))["Slices"].to_pylist() == [one["Slices"] for one in rows]
    for answer in (text, parquet):
        assert answer.headers["Preview-Total"] == "3"
        assert answer.headers["Preview-Next"] == api.document("sort=Series&limit=2")["next"]


def test_unchanged(folder: Path) -> None:
    """What a client has is not sent again, until table, search, form or identifiers are others."""
    api = Api(folder)
    queries = ("", "modality=CT", "limit=2", "sort=Series", "format=csv")
    tags = [api(query).headers["ETag"] for query in queries]
    tags.append(Api(folder, HASH)().headers["ETag"])
    tags.append(Api(folder, Identifiers("hash", b"another key, as long"))().headers["ETag"])
    assert len(set(tags)) == len(tags)
    for query, tag in zip(queries, tags, strict=False):
        answer = api(query, **{"if-none-match": tag})
        assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", tag)
        assert answer.headers["Cache-Control"] == "private, no-cache"
    write(folder, [row(9)])
    assert api("", **{"if-none-match": tags[0]}).status == 200


def test_requests(api: Api) -> None:
    """A warm search, and one that is unchanged, cost one request; the headers say so."""
    tag = api().headers["ETag"]
    for query, headers in (("", {}), ("modality=MR", {}), ("", {"if-none-match": tag})):
        api.storage.reset()
        answer = api(query, **headers)
        assert len(api.storage.gets) == 1
        assert answer.headers["Preview-Requests"] == "list=0, get=1"


def test_without_a_catalogue(tmp_path: Path) -> None:
    """404 says what makes a catalogue; one series is told without it."""
    for api in (Api(tmp_path), Api(tmp_path, catalogue=None)):
        for answer in (api(), api(study=STUDY)):
            assert "dicom-series-preview update" in problem(answer, 404, "no-catalogue")["detail"]
        document = api.document(series="S")
        assert (document["series"], document["rows"], len(document["stacks"])) == ("S", [], 1)


def test_a_broken_catalogue(folder: Path) -> None:
    """502 tells neither the table's place nor its contents."""
    for path in (folder / "catalogue").glob("*.parquet"):
        path.write_bytes(b"broken")
    document = problem(Api(folder)(), 502, "catalogue")
    assert str(folder) not in json.dumps(document)


def test_an_expired_cursor(folder: Path) -> None:
    """410 once the version of the first page is gone, also for who has that page."""
    api = Api(folder)
    query = f"limit=1&cursor={api.document('limit=1')['next']}"
    tag = api(query).headers["ETag"]
    assert api(query, **{"if-none-match": tag}).status == 304
    write(folder, [row(9)])
    for path in (folder / "catalogue" / "_delta_log").glob("*1.checkpoint.parquet"):
        path.unlink()
    problem(Api(folder)(query, **{"if-none-match": tag}), 410, "cursor-expired")


def test_a_page_that_is_too_large(folder: Path) -> None:
    """413 asks for a smaller limit, where an answer cannot hold the page: its texts, or all of it."""
    for most in (200, 4_000):
        document = problem(Api(folder, answer_limit_bytes=most)(), 413, "limit")
        assert document["errors"][0]["parameter"] == "limit"
    api = Api(folder, answer_limit_bytes=4_000)
    assert api("limit=1").status == 200


def test_a_study(api: Api) -> None:
    """The series of a study come by number, with the study; of other roots none."""
    document = api.document(study=STUDY)
    assert [one["Series"] for one in document["series"]] == ["series-0003", "series-0002", "S"]
    assert (document["study"], document["total"], document["next"]) == (STUDY, 3, None)
    assert [one["Series"] for one in api.document("sort=-Series&limit=1", study=STUDY)["series"]] == [
        "series-0003"
    ]


@pytest.mark.parametrize("study", ["1.2.840.99.7", "*", "1.2.840.99.?", "x" * 100, "'; DROP TABLE series"])
def test_no_such_study(api: Api, study: str) -> None:
    """A study that no series is of is a problem, and a name is no pattern."""
    problem(api(study=study), 404, "no-such-study")


def test_names_that_are_no_text(api: Api) -> None:
    """Half a character in a name or a cursor is refused."""
    problem(api(study="\ud800"), 400, "bad-parameter")
    problem(api("cursor=\ud800"), 400, "bad-parameter")
    problem(api("\ud800=1"), 400, "bad-parameter")


@pytest.mark.parametrize("name", ["S", UID, "S*"])
def test_one_series(api: Api, name: str) -> None:
    """A series by folder, beginning or UID: its rows, and its stacks with their facts."""
    document = api.document(series=name)
    assert (document["series"], document["root"]) == ("S", "default")
    (told,) = document["rows"]
    assert (told["SeriesInstanceUID"], told["Slices"], told["Root"]) == (UID, 4, "default")
    assert "PatientID" not in told
    (stack,) = document["stacks"]
    assert (stack["slices"], stack["modality"], "description" in stack) == (4, "CT", False)
    facts = stack["facts"]
    assert (facts["shape"], facts["slices"], facts["spacing_mm"], facts["gaps"]) == ("slice", 4, 1.0, [])


class Layout:
    """The API over folders with several series, and over series in several folders, all catalogued."""

    def __init__(self, folder: Path) -> None:
        one, two, three = self.uids = ("1.3.1", "1.3.2", "1.3.3")
        held = {"CD": (one, two), "rest": (one,), "more/of it": (three,), "solo": (three,)}
        objects = {
            f"{name}/{uid}-{name[0]}": make_dicom.encode(
                make_dicom.image(
                    i, SeriesInstanceUID=uid, SOPInstanceUID=f"{uid}.{i}", ImagePositionPatient=[0, 0, i]
                )
            )
            for i, (name, uid) in enumerate(((name, uid) for name, uids in held.items() for uid in uids), 1)
        }
        pairs = [(name, uid) for name, uids in held.items() for uid in uids]
        # A row of an earlier time in a folder that now holds one series, and one where none is now.
        stale = [("rest", two), ("gone", one)]
        write(
            folder,
            [row(i, Series=name, SeriesInstanceUID=uid) for i, (name, uid) in enumerate(pairs + stale)],
        )
        api = Bench(objects).api
        self.places = SeriesPlaces(MemoryStorage({}), "uids")
        for name, uid in pairs:
            self.places.add(uid, name)
        services = {"default": lambda: replace(api.services["default"](), places=self.places)}
        view = view_of(storage_of(folder), DROP)
        self.api = replace(api, catalogue=lambda: view, services=services)

    def __call__(self, name: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """The document of a series; and the folder and UID of each of its rows."""
        answer = self.api.one_series(HttpRequest(name, {}, {}))
        assert answer.status == 200, answer.body
        document = json.loads(answer.body)
        return document, sorted((one["Series"], one["SeriesInstanceUID"]) for one in document["rows"])


def test_one_series_of_several_folders(tmp_path: Path) -> None:
    """A split series is called by its UID, and has its row of each of its folders, and no other."""
    ask = Layout(tmp_path)
    one, _, three = ask.uids
    for uid, folders in ((one, ["CD", "rest"]), (three, ["more/of it", "solo"])):
        document, rows = ask(uid)
        assert (document["series"], document["asked_uid"], document["folders"]) == (uid, uid, folders)
        assert rows == [(name, uid) for name in folders]
        assert document["warnings"] == []


def test_one_series_of_a_folder_of_several(tmp_path: Path) -> None:
    """A UID in a folder of several series has its own row; the folder has those of all."""
    ask = Layout(tmp_path)
    one, two, _ = ask.uids
    document, rows = ask(two)
    assert (document["series"], document["series_uid"], document["folders"]) == ("CD", two, ["CD"])
    assert (rows, len(document["stacks"])) == ([("CD", two)], 1)
    document, rows = ask("CD")
    assert (document["series_uid"], document["asked_uid"]) == ("", "")
    assert (rows, len(document["stacks"])) == ([("CD", one), ("CD", two)], 2)


def test_one_series_of_a_folder_of_its_own(tmp_path: Path) -> None:
    """By UID, a folder that holds nothing else shows its rows of this UID alone; by folder all of them."""
    ask = Layout(tmp_path)
    one, two, _ = ask.uids
    ask.places.remove(one, "CD")
    document, rows = ask(one)
    assert (document["series"], document["series_uid"], document["asked_uid"]) == ("rest", "", one)
    assert rows == [("rest", one)]
    assert ask("rest")[1] == [("rest", one), ("rest", two)]


def test_one_series_of_which_a_folder_is_gone(tmp_path: Path) -> None:
    """A folder that held the series, and is gone, is told, and its rows are left out."""
    ask = Layout(tmp_path)
    one = ask.uids[0]
    tag = ask.api.one_series(HttpRequest(one, {}, {})).headers["ETag"]
    ask.places.add(one, "gone")
    document, rows = ask(one)
    assert rows == [("CD", one), ("rest", one)]
    (warning,) = document["warnings"]
    assert warning.startswith("1 of the 3 folders known to hold this series, gone, holds it no more")
    assert ask.api.one_series(HttpRequest(one, {}, {})).headers["ETag"] != tag


def many(count: int, **elements: Any) -> Any:
    """An API over a folder of slices that are each a stack, and a series, of their own."""
    objects: dict[str, bytes] = {}
    for number in range(1, count + 1):
        each = {"SeriesInstanceUID": f"{UID}.{number}", **elements}
        objects[f"M/{number}.dcm"] = bench.one(number, **each)
    return Bench(objects).api


def test_one_series_is_no_longer_than_an_answer(tmp_path: Path) -> None:
    """413 says what to ask for, where a series has more rows or more stacks than an answer can hold."""
    write(
        tmp_path,
        [row(n, Series="M", SeriesInstanceUID=f"{UID}.{n}", SeriesDescription="d" * 5000) for n in range(9)],
    )
    with_rows, without = view_of(storage_of(tmp_path), DROP), None
    for view, most in ((with_rows, 40_000), (with_rows, 60_000), (without, 5_000)):
        told = view and (lambda view=view: view)
        api = replace(many(12), catalogue=told, answer_limit_bytes=most)
        document = problem(api.one_series(HttpRequest("M")), 413, "limit")
        (error,) = document["errors"]
        assert error["parameter"] == "series"
        assert "SeriesInstanceUID" in error["detail"]
    assert replace(many(12), answer_limit_bytes=60_000).one_series(HttpRequest("M")).status == 200


def test_one_series_of_many(tmp_path: Path) -> None:
    """Of rows, and of stacks, there are at most 1000, and the answer says how many there are."""
    write(tmp_path, [row(n, Series="M", SeriesInstanceUID=f"{UID}.{n}") for n in range(1001)])
    view = view_of(storage_of(tmp_path), DROP)
    api = replace(many(1001), catalogue=lambda: view)
    document = json.loads(api.one_series(HttpRequest("M")).body)
    assert (len(document["rows"]), document["rows_total"]) == (1000, 1001)
    assert (len(document["stacks"]), document["stacks_total"]) == (1000, 1001)


class Told(Gate):
    """A gate that tells what it was asked for."""

    def __init__(self) -> None:
        super().__init__(2**30, 4)
        self.wanted: list[int] = []

    def passage(self, wanted: int) -> Any:
        """Let it through."""
        self.wanted.append(wanted)
        return super().passage(wanted)


def test_answers_at_once(folder: Path) -> None:
    """A gate admits the memory of rows and of their text, for a search and for one series."""
    write(
        folder, [{**ROWS[0], "Fingerprint": "new", "ProtocolName": "p" * 10_000, "ImageType": ["x"] * 5_000}]
    )
    searches, series = Told(), Told()
    api = Api(folder, gates={SEARCHES: searches}).api
    service = replace(api.services["default"](), gate=series.passage)
    api = replace(api, services={"default": lambda: service})
    assert api.series(HttpRequest()).status == 200
    assert (max(searches.wanted) > 10 * 15_000, series.wanted) == (True, [])
    assert api.one_series(HttpRequest("S")).status == 200
    assert max(series.wanted) > 10 * 15_000


def test_a_server_limits_searches(folder: Path) -> None:
    """`serve` has a gate for searches, which has its own room."""
    assert SEARCHES in open_api({"default": str(folder)}, Settings(folder), {}).gates


def test_one_series_unchanged(folder: Path) -> None:
    """Its tag stays while it and its rows do, whatever becomes of others."""
    api = Api(folder)
    tag = api(series="S").headers["ETag"]
    write(folder, [row(9)])
    assert api(series="S", **{"if-none-match": tag}).status == 304
    write(folder, [{**ROWS[0], "Fingerprint": "changed", "SeriesDescription": "other"}])
    assert api(series="S", **{"if-none-match": tag}).status == 200


@pytest.mark.parametrize(
    ("query", "name", "status", "kind"),
    [
        ("", "none", 404, "no-such-series"),
        ("", "1.2.840.99.1.4", 404, "no-such-series"),
        ("root=other", "S", 400, "bad-parameter"),
        ("format=csv", "S", 400, "bad-parameter"),
        ("", "..", 400, "bad-parameter"),
        ("", "s3://b/S", 400, "bad-parameter"),
    ],
)
def test_no_such_series(api: Api, query: str, name: str, status: int, kind: str) -> None:
    """What names no series of the root is a problem; so is the UID of a series of another root."""
    problem(api(query, series=name), status, kind)


OPERATIONS: list[tuple[str, Any, Callable[[Api, str], HttpResponse]]] = [
    ("/series", PARAMETERS, lambda api, query: api(query)),
    ("/studies/{study}", OF_A_STUDY, lambda api, query: api(query, study=STUDY)),
]


@pytest.mark.parametrize(("path", "table", "ask"), OPERATIONS)
def test_the_description_is_true(folder: Path, path: str, table: Any, ask: Any) -> None:
    """OpenAPI has exactly the parameters that are read, with values that are accepted."""
    api = Api(folder, KEEP)
    operation = openapi_document()["paths"][path]["get"]
    declared = {one["name"]: one for one in operation["parameters"] if one["in"] == "query"}
    assert list(declared) == [one.name for one in table]
    for name in {one.name for one in PARAMETERS} | {"columns", "where", "page"}:
        refused = b"not an option" in ask(api, f"{name}=1").body
        assert refused == (name not in declared), name
    for name, parameter in declared.items():
        schema = parameter["schema"]
        values = [schema.get(key) for key in ("default", "minimum", "maximum")]
        for value in (*values, *schema.get("enum", ()), *schema.get("examples", ())):
            if value is not None:
                answer = ask(api, f"{name}={value}")
                assert answer.status == 200, (name, value, answer.body)
                assert answer.headers["Content-Type"] in operation["responses"]["200"]["content"]
        if "minimum" in schema:
            assert ask(api, f"{name}={schema['minimum'] - 1}").status == 400
            assert ask(api, f"{name}={schema['maximum'] + 1}").status == 400
        if "enum" in schema:
            assert ask(api, f"{name}=something-else").status == 400
    assert set(operation["responses"]) >= {"200", "304", "400", "404", "410", "413", "502", "503"}


def test_whatever_is_asked(folder: Path) -> None:
    """No text of any parameter, name or header makes the API fail: that is the asker's problem."""
    api, random = Api(folder, HASH), Random(13)
    names = [*(one.name for one in PARAMETERS), "columns", "Modality", "\0", ""]
    pieces = (
        *(
            "CT",
            "*",
            "?",
            ",",
            "-",
            "--",
            "2026",
            "20260101",
            "(",
            ")",
            "[",
            "\\",
            "|",
            "^",
            "$",
            "{9999}",
            "\0",
        ),
        *(
            "'",
            '"',
            ";",
            "%",
            "\n",
            "\ud800",
            "é",
            "\U0001f600",
            "1e9",
            "None",
            "default",
            "StudyDate",
            "..",
            "/",
        ),
        api.document("limit=1")["next"],
    )
    for _ in range(600):
        query = {
            random.choice(names): [
                "".join(random.choices(pieces, k=random.randrange(4))) for _ in range(random.randrange(3))
            ]
            for _ in range(random.randrange(4))
        }
        headers = {"if-none-match": "".join(random.choices(pieces, k=2))}
        name = "".join(random.choices(pieces, k=random.randrange(3)))
        request = HttpRequest(random.choice(("", name)), query, headers)
        assert api.api.series(request).status in {200, 304, 400, 404, 410, 413}, request
        assert api.api.one_series(replace(request, series=name)).status in {200, 304, 400, 404, 413}, request
