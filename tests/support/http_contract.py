"""The rules that every door to the HTTP API keeps: a suite inherits them, and its fixture `door` asks."""

import csv
import io
import json
from typing import Any, Protocol
from urllib.parse import quote

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import gateway
import planted
import synthetic
from gateway import Answer

SERIES = f"/series/{synthetic.SERIES}"
ODD = "Schädel 1/ä b+c"
PROBLEM = "urn:dicom-series-preview:problem:"


class Door(Protocol):
    """Asks for a target: path and query, encoded; keywords are header names with underscores."""

    def __call__(self, target: str, method: str = "GET", **headers: str) -> Answer:
        """The answer."""


def door_at(address: str) -> Door:
    """The API that listens at an address."""

    def ask(target: str, method: str = "GET", **headers: str) -> Answer:
        return gateway.fetch(
            address + target, method, {name.replace("_", "-"): value for name, value in headers.items()}
        )

    return ask


def odd_series() -> synthetic.Synthetic:
    """The series that each door has beside the main one."""
    return synthetic.series(ODD, 3)


def opened(answer: Answer) -> Image.Image:
    """The picture that an answer is."""
    assert answer.status == 200, answer.body
    image = Image.open(io.BytesIO(answer.body))
    image.load()
    assert answer.headers["content-type"] == f"image/{image.format.lower()}"
    return image


def problem(answer: Answer, status: int, kind: str) -> dict[str, Any]:
    """The document of an answer that must be this problem (RFC 9457)."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json()
    assert (document["type"], document["status"]) == (PROBLEM + kind, status)
    planted.check_answer(answer.headers, answer.body)
    return document


class HttpContract:
    """What a client may rely on, whatever answers; the door has the main series and `odd_series`."""

    @pytest.mark.parametrize(
        ("target", "shown"),
        [
            ("mosaic?tile_width=3&contrast=lung", ("WEBP", (384, 384), "9/40")),
            ("image?position=0.5&image_width=64&format=jpeg", ("JPEG", (64, 64), "1/40")),
            ("image?position=0", ("WEBP", (128, 128), "1/40")),
            (
                "contrast-mosaic?position=0&contrast=lung&contrast=1500%2C-500&contrast=auto",
                ("WEBP", (384, 128), "1/40"),
            ),
        ],
    )
    def test_pictures(self, door: Door, target: str, shown: tuple[str, tuple[int, int], str]) -> None:
        """Each kind of picture comes over HTTP as the command line writes it."""
        answer = door(f"{SERIES}/{target}")
        image = opened(answer)
        assert (image.format, image.size, answer.headers["preview-slices"]) == shown

    def test_a_mosaic_shows_its_slices(self, door: Door) -> None:
        """36 of 40 slices, head to feet, each with the grey that its header's window gives it."""
        answer = door(f"{SERIES}/mosaic?quality=90")
        image = np.asarray(opened(answer).convert("L"), float)
        assert image.shape == (6 * 128, 6 * 128)
        assert answer.headers["preview-slices"] == f"36/{synthetic.SLICES}"
        for tile in range(36):
            row, column = divmod(tile, 6)
            shown = image[row * 128 + 64, column * 128 + 64]
            assert shown == pytest.approx(synthetic.grey(round(tile * (synthetic.SLICES - 1) / 35)), abs=4)

    def test_accept_chooses_the_format(self, door: Door) -> None:
        """Without `format`, Accept decides, and caches are told so."""
        answer = door(f"{SERIES}/mosaic", Accept="image/jpeg, image/webp;q=0.5")
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["vary"] == "Accept"

    def test_the_index_in_every_format(self, door: Door) -> None:
        """The index comes in short and whole; the Parquet file opens, and all formats say the same."""
        summary = door(f"{SERIES}/index").json()
        assert (summary["series"], summary["slices"], summary["objects"]) == (synthetic.SERIES, 41, 43)
        answers = {name: door(f"{SERIES}/index?format={name}") for name in ("json", "jsonl", "parquet")}
        assert {
            name: (answer.status, answer.headers["content-type"]) for name, answer in answers.items()
        } == {
            "json": (200, "application/json"),
            "jsonl": (200, "application/jsonl"),
            "parquet": (200, "application/vnd.apache.parquet"),
        }
        rows = answers["json"].json()
        assert [json.loads(line) for line in answers["jsonl"].body.splitlines()] == rows
        assert pq.read_table(io.BytesIO(answers["parquet"].body)).to_pylist() == rows
        assert tuple(row["SOPInstanceUID"] for row in rows)[: synthetic.SLICES] == synthetic.series().uids
        assert len(rows) == synthetic.SLICES + 1

    @pytest.mark.parametrize(
        "target", ["mosaic", "image?position=0.25", "contrast-mosaic?position=0&contrast=auto", "index"]
    )
    def test_unchanged(self, door: Door, target: str) -> None:
        """What a client has is not sent again: its tag, sent back alone or in a list, is answered 304."""
        first = door(f"{SERIES}/{target}")
        tag = first.headers["etag"]
        assert first.status == 200
        for tags in (tag, f'W/"old", {tag}'):
            again = door(f"{SERIES}/{target}", If_None_Match=tags)
            assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)

    @pytest.mark.parametrize(
        ("target", "status"),
        [
            ("/health", 200),
            (f"{SERIES}/mosaic", 200),
            (f"{SERIES}/index", 200),
            (f"{SERIES}/index?format=parquet", 200),
            (f"{SERIES}/mosaic?quality=101", 400),
            ("/series/none/mosaic", 404),
        ],
    )
    def test_head_is_answered_as_get(self, door: Door, target: str, status: int) -> None:
        """HEAD has GET's status, headers and length, and no body."""
        got, head = door(target), door(target, "HEAD")
        assert (got.status, head.status, head.body) == (status, status, b"")
        assert head.headers["content-length"] == str(len(got.body))
        for name in ("content-type", "etag", "cache-control", "preview-slices"):
            assert head.headers.get(name) == got.headers.get(name)

    def test_encoded_names(self, door: Door) -> None:
        """Blanks, letters beyond ASCII, a plus and an encoded slash are parts of a name."""
        answer = door("/series/Sch%C3%A4del%201%2F%C3%A4%20b+c/image?position=0")
        assert opened(answer).size == (128, 128)
        # A path that a header holds keeps its slash.
        assert answer.headers["preview-series"] == "Sch%C3%A4del%201/%C3%A4%20b%2Bc"

    @pytest.mark.parametrize("slash", ["%2F", "%2f"])
    def test_an_encoded_slash_is_part_of_a_name(self, door: Door, slash: str) -> None:
        """A series two folders deep is named with an encoded slash; a bare one leads nowhere."""
        name = quote(ODD, safe="/")
        assert door(f"/series/{name.replace('/', slash)}/index").json()["series"] == ODD
        assert door(f"/series/{name}/index").status == 404

    @pytest.mark.parametrize(
        "name",
        [
            *("..", "%2e%2e", "..%2fetc", "%2Fetc", "%2Fetc%2Fpasswd", "..%2F..%2Fetc", "S%00", "S%0A"),
            *("s3:%2F%2Fb%2FS", "S%2F..%2FS"),
        ],
    )
    def test_names_that_cannot_be(self, door: Door, name: str) -> None:
        """Dots, control characters, paths and URLs are refused however they are written."""
        problem(door(f"/series/{name}/index"), 400, "bad-parameter")

    @pytest.mark.parametrize(
        ("target", "status", "kind"),
        [
            ("/series/none/mosaic", 404, "no-such-series"),
            (f"{SERIES}/mosaic?root=file%3A%2F%2F%2F", 400, "bad-parameter"),
            (f"{SERIES}/mosaic?tile_width=0&x=1", 400, "bad-parameter"),
            (f"{SERIES}/image", 400, "bad-parameter"),
            (f"{SERIES}/index?format=csv", 400, "bad-parameter"),
            (f"{SERIES}/mosaic?format=gif", 400, "bad-parameter"),
            (f"{SERIES}/mosaic?tile_width=200&image_width=2000", 413, "limit"),
            pytest.param(f"{SERIES}/index?format={'x' * 20_000}", 413, "limit", id="a long query"),
        ],
    )
    def test_problems(self, door: Door, target: str, status: int, kind: str) -> None:
        """What cannot be is a problem in JSON that tells nothing of the root or of a patient."""
        problem(door(target), status, kind)

    def test_all_wrong_parameters_are_named(self, door: Door) -> None:
        """400 names each parameter that is wrong, in one answer."""
        query = "tile_width=0&start=2&contrast=nonsense&colour=red&quality=x&contrast=lung"
        document = problem(door(f"{SERIES}/mosaic?{query}"), 400, "bad-parameter")
        wrong = {error["parameter"] for error in document["errors"]}
        assert wrong == {"tile_width", "start", "contrast", "colour", "quality"}


class CatalogueContract:
    """What a client may rely on of the catalogue: of the main series, `odd_series`, and another root's."""

    def test_which_series_there_are(self, door: Door) -> None:
        """The catalogue has a row a series of the roots that are served, without identifiers."""
        document = door("/series?sort=Series").json()
        assert (document["total"], document["next"]) == (2, None)
        by_name = {one["Series"]: one for one in document["series"]}
        assert list(by_name) == sorted((synthetic.SERIES, ODD))
        main = by_name[synthetic.SERIES]
        assert (main["Root"], main["Modality"], main["Slices"]) == ("default", "CT", synthetic.SLICES)
        assert (main["StudyDate"], main["SliceSpacing"], main["Plane"]) == ("2024-01-02", 2.5, "AXIAL")
        assert {"PatientID", "PatientName", "PatientBirthDate", "AccessionNumber", "StudyID"} & set(
            main
        ) == set()

    @pytest.mark.parametrize(
        ("query", "total"),
        [
            ("modality=ct", 2),
            ("modality=MR", 0),
            ("q=38902e14", 1),
            ("q=sch%C3%A4del", 1),
            ("date=20240101-20240131", 2),
            ("from=2024-01-03", 0),
            (f"study={synthetic.UID_ROOT}.*", 2),
            ("problem=true", 0),
            ("root=default", 2),
        ],
    )
    def test_searches(self, door: Door, query: str, total: int) -> None:
        """Each parameter narrows the search."""
        answer = door(f"/series?{query}")
        assert (answer.status, answer.json()["total"], answer.headers["preview-total"]) == (
            200,
            total,
            str(total),
        )

    def test_pages(self, door: Door) -> None:
        """The cursor of an answer leads to the rows after its own."""
        first = door("/series?sort=-Slices&limit=1").json()
        second = door(f"/series?sort=-Slices&limit=1&cursor={first['next']}").json()
        assert [one["Series"] for one in (*first["series"], *second["series"])] == [synthetic.SERIES, ODD]
        assert second["next"] is None
        problem(door(f"/series?sort=Slices&limit=1&cursor={first['next']}"), 400, "bad-parameter")

    def test_forms(self, door: Door) -> None:
        """CSV and Parquet have the rows of JSON."""
        expected = [one["SeriesInstanceUID"] for one in door("/series").json()["series"]]
        text = door("/series?format=csv")
        rows = list(csv.DictReader(io.StringIO(text.body.decode(), newline="")))
        assert [one["SeriesInstanceUID"] for one in rows] == expected
        assert text.headers["content-type"].startswith("text/csv")
        parquet = door("/series?format=parquet")
        assert parquet.headers["content-type"] == "application/vnd.apache.parquet"
        table = pq.read_table(io.BytesIO(parquet.body))
        assert table["SeriesInstanceUID"].to_pylist() == expected
        assert "PatientID" not in table.column_names

    @pytest.mark.parametrize(
        "target", ["/series", SERIES, f"{SERIES}/volumes", f"/studies/{synthetic.UID_ROOT}.1"]
    )
    def test_catalogue_unchanged(self, door: Door, target: str) -> None:
        """What a client has of the catalogue is not sent again, and HEAD is GET without the body."""
        got = door(target)
        assert (got.status, got.headers["cache-control"]) == (200, "private, no-cache")
        again = door(target, If_None_Match=got.headers["etag"])
        assert (again.status, again.body) == (304, b"")
        head = door(target, "HEAD")
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(got.body)))
        assert head.headers["etag"] == got.headers["etag"]

    def test_volumes(self, door: Door) -> None:
        """A series' plan says which volumes it gives, and which not and why, with 200 for both."""
        document = door(f"{SERIES}/volumes").json()
        assert (document["series"], document["root"]) == (synthetic.SERIES, "default")
        (volume,) = document["volumes"]
        assert volume["shape_tzyx"][:2] == [1, synthetic.SLICES]
        assert volume["spacing_mm"][2] == pytest.approx(2.5)
        refused = door(f"{SERIES}/volumes?min_slices=100")
        assert refused.status == 200
        assert (refused.json()["volumes"], refused.json()["refused"][0]["code"]) == ([], "single_location")
        document = problem(door(f"{SERIES}/volumes?stack=x&values=raw&orient=ras"), 400, "bad-parameter")
        assert {one["parameter"] for one in document["errors"]} == {"stack", "values", "orient"}

    @pytest.mark.parametrize("by", ["folder", "UID"])
    def test_one_series(self, door: Door, by: str) -> None:
        """One series, by folder or UID: its rows, and its stacks with their facts."""
        rows = {one["Series"]: one for one in door("/series").json()["series"]}
        name = quote(ODD, safe="") if by == "folder" else rows[ODD]["SeriesInstanceUID"]
        document = door(f"/series/{name}").json()
        assert (document["series"], document["root"], document["rows"]) == (ODD, "default", [rows[ODD]])
        main = document["stacks"][0]
        assert (main["facts"]["slices"], main["facts"]["spacing_mm"], main["facts"]["shape"]) == (
            3,
            2.5,
            "slice",
        )

    def test_a_study(self, door: Door) -> None:
        """A study has its series, of served roots."""
        document = door(f"/studies/{synthetic.UID_ROOT}.1").json()
        assert (document["study"], document["total"]) == (f"{synthetic.UID_ROOT}.1", 2)
        assert {one["Series"] for one in document["series"]} == {synthetic.SERIES, ODD}

    @pytest.mark.parametrize(
        ("target", "status", "kind"),
        [
            ("/series?modalty=CT", 400, "bad-parameter"),
            ("/series?patient=PID-4711-0815", 400, "bad-parameter"),
            ("/series?sort=PatientName", 400, "bad-parameter"),
            ("/series?cursor=AAAA", 400, "bad-parameter"),
            ("/series?root=s3%3A%2F%2Fplanted-bucket%2Fother", 400, "bad-parameter"),
            ("/series?where=1%3D1", 400, "bad-parameter"),
            ("/series/none", 404, "no-such-series"),
            ("/series/..", 400, "bad-parameter"),
            ("/series/1.2.840.99.1.1", 404, "no-such-series"),
            ("/studies/1.2.3", 404, "no-such-study"),
            pytest.param(f"/series?q={'x' * 20_000}", 413, "limit", id="a long query"),
        ],
    )
    def test_problems_of_the_catalogue(self, door: Door, target: str, status: int, kind: str) -> None:
        """What cannot be asked or is not there is a problem, that tells nothing of a patient or a root."""
        problem(door(target), status, kind)

    def test_the_nearest_parameter_is_named(self, door: Door) -> None:
        """Whoever misspells a parameter learns its name."""
        assert "did you mean modality?" in problem(door("/series?modalty=CT"), 400, "bad-parameter")["detail"]
