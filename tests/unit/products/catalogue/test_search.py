import datetime as dt

import pytest

import searched
from dicom_series_preview.base.errors import RequestError, wrong_parameters
from dicom_series_preview.products.catalogue.view import CatalogueView

ROWS = [
    searched.row(1, Modality="CT", SeriesDescription="Thorax (native)", BodyPartExamined="CHEST"),
    searched.row(2, Modality="MR", SeriesDescription="t2_FLAIR 3D", StudyDescription="Schädel"),
    searched.row(3, Modality="MR", SeriesDescription=None, StudyDate=None),
    searched.row(4, Modality=None, Problem="no instance is readable", StudyDate=dt.date(2026, 2, 1)),
    searched.row(5, Modality="PT", PatientID="other", AccessionNumber="A*1", SeriesDescription="50%_x"),
]


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> CatalogueView:
    """A catalogue of five series with all identifiers."""
    folder = tmp_path_factory.mktemp("catalogue")
    searched.write(folder, ROWS)
    return searched.view_of(searched.storage_of(folder))


def numbers(view: CatalogueView, query: str) -> list[int]:
    """The numbers of the series that a query finds."""
    return sorted(int(name[-4:]) for name in searched.names(searched.found(view, query)))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [1, 2, 3, 4, 5]),
        ("modality=MR", [2, 3]),
        ("modality=mr", [2, 3]),
        ("modality=ct,pt", [1, 5]),
        ("modality=CT&modality=PT", [1, 5]),
        ("modality=M", []),
        ("modality=M*", [2, 3]),
        ("modality=?T", [1, 5]),
        ("modality=", [1, 2, 3, 4, 5]),
        ("body_part=chest", [1]),
        ("description=*flair*", [2]),
        ("description=thorax (native)", [1]),
        ("description=thorax .native.", []),
        ("description=50%25_x", [5]),
        ("description=%25", []),
        ("study=1.2.840.99.1", [3, 4, 5]),
        ("study=1.2.840.99.*", [1, 2, 3, 4, 5]),
        ("study=1x2x840x99x1", []),
        ("study=" + ",".join(f"1.2.840.99.{n}" for n in range(1, 101)), [3, 4, 5]),
        ("modality=c?,PT,p*", [1, 5]),
        ("patient=other", [5]),
        ("accession=A*1", [5]),
        ("date=20260102", [1]),
        ("date=20260102-20260103", [1, 2]),
        ("date=20260103-", [2, 4, 5]),
        ("date=-20260103", [1, 2]),
        ("date=2026-01-02-2026-01-03", [1, 2]),
        ("from=2026-01-03", [2, 4, 5]),
        ("to=20260103", [1, 2]),
        ("from=20260103&to=20260103", [2]),
        ("q=thorax", [1]),
        ("q=SCHÄDEL flair", [2]),
        ("q=flair thorax", []),
        ("q=series-000?", [1, 2, 3, 4, 5]),
        ("q=1.2.840.99.1.3", [3]),
        ("q=840.99.1.*3", [3]),
        ("q=other", [5]),
        ("problem=true", [4]),
        ("problem=false", [1, 2, 3, 5]),
        ("root=default", [1, 2, 3, 4, 5]),
        ("modality=MR&date=20260101-20260131", [2]),
        ("description=*' OR '1'='1*", []),
        ("description=.*", []),
        ("description=[a-z]*", []),
        ("description=(", []),
    ],
)
def test_conditions(view: CatalogueView, query: str, expected: list[int]) -> None:
    """Each parameter narrows the search; texts are compared whole, `*` and `?` alone stand for others."""
    assert numbers(view, query.replace("+", "%2B")) == expected


@pytest.mark.parametrize(
    ("query", "parameter", "said"),
    [
        ("modalty=CT", "modalty", "did you mean modality?"),
        ("Modality=CT", "Modality", "did you mean modality?"),
        ("where=1%3D1", "where", "is not an option here"),
        ("date=yesterday", "date", "20260131 or 20260101-20260131"),
        ("date=20260231", "date", "no date"),
        ("date=20260131-20260101", "date", "begins after its end"),
        ("date=-", "date", "is 20260131"),
        ("from=x", "from", "no date"),
        ("from=20260301&to=20260201", "from", "begins after its end"),
        ("date=20260101&to=20260201", "date", "excludes from and to"),
        ("date=20260101&date=20260102", "date", "more than once"),
        ("problem=yes", "problem", "one of true, false"),
        ("sort=Modalty", "sort", "did you mean Modality?"),
        ("sort=ImageType", "sort", "lists"),
        ("sort=--StudyDate", "sort", "is no column"),
        ("limit=0", "limit", "from 1 to 1000"),
        ("limit=1001", "limit", "from 1 to 1000"),
        ("limit=1_0", "limit", "from 1 to 1000"),
        ("limit=many", "limit", "from 1 to 1000"),
        ("format=xml", "format", "one of json, csv, parquet"),
        ("root=other", "root", "is one alias"),
        ("root=s3%3A%2F%2Fthe-clinics-bucket%2Fof-patients", "root", "is one alias"),
        ("cursor=x", "cursor", "is none that an answer gave"),
        ("modality=" + "x" * 300, "modality", "at most 100 values of 256 characters"),
        ("modality=" + ",".join("x" * 101), "modality", "at most 100 values"),
        ("q=" + "+".join("x" * 11), "q", "at most 10 words"),
        ("q=" + "x" * 300, "q", "at most 256 characters"),
        ("study=" + ",".join(["1*"] * 11), "study", "at most 10 words or patterns"),
        ("study=" + "*1" * 9, "study", "at most 8 `*` in a pattern"),
    ],
)
def test_what_is_refused(view: CatalogueView, query: str, parameter: str, said: str) -> None:
    """A parameter that is unknown or wrong is refused by name, with what is right."""
    with pytest.raises(RequestError) as caught:
        searched.found(view, query)
    assert caught.value.parameter == parameter
    assert said in caught.value.problem


def test_all_mistakes_are_told_at_once(view: CatalogueView) -> None:
    """Several wrong parameters are one error, that names each."""
    with pytest.raises(RequestError) as caught:
        searched.found(view, "limit=0&colour=red&date=x&sort=y")
    assert {one.parameter for one in wrong_parameters(caught.value)} == {"limit", "colour", "date", "sort"}


def test_half_a_character_is_refused(view: CatalogueView) -> None:
    """What is no Unicode text is a wrong parameter, not a failure."""
    for query in ("modality=\ud800", "q=\ud800", "root=\ud800"):
        with pytest.raises(RequestError):
            searched.found(view, query)


@pytest.mark.parametrize("parameter", ["patient", "accession"])
def test_dropped_identifiers_are_not_searched(view: CatalogueView, parameter: str) -> None:
    """Where identifiers are dropped, no search and no order tells them, and the answer says so."""
    dropped = searched.view_of(view.storage, searched.DROP)
    for query in (f"{parameter}=x", "sort=PatientID", "sort=-PatientName", "sort=StudyID"):
        with pytest.raises(RequestError, match=r"is dropped here; DICOM_SERIES_PREVIEW_IDENTIFIERS=hash"):
            searched.found(dropped, query)
    assert numbers(dropped, "q=other") == []
    assert numbers(dropped, "q=Zwiebelfisch") == []


def test_hashes_are_searched(view: CatalogueView) -> None:
    """Hashes are compared and sorted by, and no word is looked for in them."""
    hashing = searched.view_of(view.storage, searched.HASH)
    rows = searched.found(hashing, "sort=SeriesNumber").page.rows
    hashes = rows["PatientID"].to_pylist()
    assert len(set(hashes)) == 2
    assert numbers(hashing, f"patient={hashes[4]}") == [5]
    assert numbers(hashing, "patient=other") == []
    assert numbers(hashing, f"q={hashes[4]}") == []
    ordered = searched.found(hashing, "sort=PatientID").page.rows["PatientID"].to_pylist()
    assert ordered == sorted(hashes)
    with pytest.raises(RequestError, match="does not show PatientName"):
        searched.found(hashing, "sort=PatientName")
