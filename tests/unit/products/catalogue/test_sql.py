import datetime as dt
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.products.catalogue.sql import engine, selected

SERIES = pa.table(
    {
        "Series": ["a", "b", "c"],
        "Modality": ["CT", "MR", None],
        "Rows": pa.array([512, 256, None], pa.int32()),
        "StudyDate": pa.array([dt.date(2026, 1, 2), None, None]),
        "ImageType": pa.array([["A", "B"], [], None], pa.list_(pa.utf8())),
        "Empty": pa.array([None] * 3, pa.float64()),
        "CataloguedAt": pa.array([dt.datetime(2026, 1, 1, tzinfo=dt.UTC)] * 3),
        "Index": pa.array([1, 2, 3], pa.uint32()),
        "Offset": pa.array([2**63, 1, None], pa.uint64()),
        "PrimaryPosition": pa.array([0.5, None, 1], pa.float32()),
    }
)


def ask(question: str) -> pa.Table:
    """The answer to a question."""
    with engine({"series": SERIES}) as sql:
        return sql.ask(question)


def test_types_come_back_as_they_are() -> None:
    """An answer has the columns' own types, also where all its cells are null, and where it has no row."""
    assert ask("SELECT * FROM series ORDER BY Series").equals(SERIES)
    none = ask("SELECT * FROM series WHERE false")
    assert (none.num_rows, none.schema) == (0, SERIES.schema)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("SELECT modality FROM series WHERE series = 'a'", [{"Modality": "CT"}]),
        ("select MODALITY as m from SERIES where rows > 300", [{"m": "CT"}]),
        ('SELECT "Modality" FROM series WHERE Modality IS NULL', [{"Modality": None}]),
        ("SELECT 'modality' AS t, \"Rows\" FROM series LIMIT 1", [{"t": "modality", "Rows": 512}]),
        (
            "SELECT Rows, COUNT(*) AS n FROM series GROUP BY rows ORDER BY n, Rows LIMIT 1",
            [{"Rows": 256, "n": 1}],
        ),
        ("WITH x AS (SELECT max(rows) AS m FROM series) SELECT m FROM x", [{"m": 512}]),
        (
            "SELECT x.series FROM series x, Series y WHERE x.rows = y.rows ORDER BY 1 LIMIT 1",
            [{"Series": "a"}],
        ),
        ("SELECT series.series FROM series WHERE series.Rows = 256", [{"Series": "b"}]),
        ("SELECT n FROM (SELECT count(*) AS n FROM series) JOIN series ON series = 'a'", [{"n": 3}]),
        ("-- of all\nSELECT count(*) AS n FROM series", [{"n": 3}]),
        ("SELECT count(*) AS n FROM series -- modality", [{"n": 3}]),
        ("SELECT s.Series FROM series AS s WHERE s.StudyDate >= '2026-01-01'", [{"Series": "a"}]),
        ("SELECT array_length(ImageType) AS n FROM series WHERE Series = 'a'", [{"n": 2}]),
    ],
)
def test_names_may_be_written_in_any_case(question: str, answer: list[dict[str, object]]) -> None:
    """Columns and tables are found in any case, also SQL's own words; text and quoted names stay."""
    assert ask(question).to_pylist() == answer


@pytest.mark.parametrize(
    "question",
    [
        "COPY series TO '{place}/out.csv' STORED AS CSV",
        "CREATE EXTERNAL TABLE f STORED AS CSV LOCATION '{place}/secret.csv'",
        "INSERT INTO series SELECT * FROM series",
        "DROP TABLE series",
        "SET datafusion.execution.batch_size = 1",
        "EXPLAIN ANALYZE COPY series TO '{place}/out.csv' STORED AS CSV",
        "SELECT 1; COPY series TO '{place}/out.csv' STORED AS CSV",
        "(COPY series TO '{place}/out.csv' STORED AS CSV)",
        "/* */ COPY series TO '{place}/out.csv' STORED AS CSV",
        "WITH x AS (SELECT 1) COPY x TO '{place}/out.csv' STORED AS CSV",
        "WITH x AS (SELECT * FROM series) INSERT INTO series SELECT * FROM x",
        "SELECT * FROM (INSERT INTO series SELECT * FROM series)",
        "SELECT * FROM '{place}/secret.csv'",
        'SELECT * FROM "{place}/secret.csv"',
        'SELECT * FROM "file://{place}/secret.csv"',
        "SELECT * FROM read_csv('{place}/secret.csv')",
        "SELECT * FROM series WHERE Series IN (SELECT * FROM read_parquet('{place}/secret.csv'))",
        "SELECT * FROM information_schema.tables",
        "",
        "SELEC",
        "SELECT Nothing FROM series",
        "SELECT * FROM nothing",
    ],
)
def test_a_question_writes_nothing_and_opens_no_file(question: str, tmp_path: Path) -> None:
    """Whatever a question says, it writes no file and reads none; one short line says why it is refused."""
    (tmp_path / "secret.csv").write_text("a\nplanted\n")
    with pytest.raises(RequestError) as raised:
        ask(question.format(place=tmp_path))
    told = str(raised.value)
    assert "\n" not in told
    assert len(told) < 400
    assert "datafusion" not in told.replace(question.format(place=tmp_path), "")
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]


def test_a_wrong_column_is_told_without_all_columns() -> None:
    """The complaint about a column names it, and not the hundred others."""
    with pytest.raises(RequestError, match="there is no column Nothing") as raised:
        ask("SELECT Nothing FROM series")
    assert "PrimaryPosition" not in str(raised.value)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("Modality=CT", "there is no column CT; text stands in single quotes: 'CT'"),
        ("x.Rows = 1", "there is no column x.Rows; did you mean Rows?"),
        ("Rows > 'abc'", "'abc' is not a number"),
        ("StudyDate > 'soon'", "'soon' is not a date such as '2026-01-31'"),
        ("Modality > 3", "a text in the rows is not a number"),
        ("Modality + 1 > 2", "text + a number cannot be calculated"),
        ("Modality LIKE 3", "LIKE cannot compare text with a number"),
        ("ImageType = 'A'", "a list cannot be compared with text"),
        ("Rows", "Rows is a number, no condition; compare it"),
        ("foo(Rows) > 1", "there is no function foo"),
        ("abs(Modality) > 1", "the function abs cannot take these values"),
        ("Rows / 0 > 1", "divides by zero"),
        ("regexp_like(Modality, '(')", "holds a wrong regular expression"),
        ("(Rows > 1", "is no SQL: ) is missing at its end"),
        ("Rows > ", "is no SQL: an expression is missing at its end"),
        ("Modality = 'CT", "is no SQL: unterminated string literal"),
        ("Rows > 1 ANDD Rows < 3", "is no SQL: ANDD stands where ) is expected"),
    ],
)
def test_a_wrong_condition_is_told_in_the_catalogue_s_words(where: str, said: str) -> None:
    """One line says what is wrong with a condition, names it as what was written, and no rule or type."""
    with engine({"series": SERIES}) as sql, pytest.raises(RequestError) as raised:
        sql.ask(selected(None, where, [("Series", False)], None), where)
    assert str(raised.value) == f"where: {said}"


def test_columns_of_a_join_are_told_apart() -> None:
    """Two columns of one name are both in the answer: the second has a number."""
    found = ask("SELECT x.Series, y.Series FROM series x JOIN series y ON x.Rows = y.Rows ORDER BY 1 LIMIT 1")
    assert found.to_pylist() == [{"Series": "a", "Series_2": "a"}]


def test_a_list_of_series_is_a_question() -> None:
    """Columns, condition, order and limit make one SELECT; names are quoted, nulls last."""
    text = selected(["Series", 'a"b'], "Rows > 1 -- all", [("Rows", True), ("Series", False)], 5)
    assert text == (
        'SELECT "Series", "a""b" FROM series WHERE ( Rows > 1 -- all \n) '
        'ORDER BY "Rows" DESC NULLS LAST, "Series" ASC NULLS LAST LIMIT 5'
    )


LONG = """
import pyarrow as pa
from dicom_series_preview.products.catalogue.sql import engine
with engine({"series": pa.table({"a": list(range(100_000))})}) as sql:
    print("asking", flush=True)
    sql.ask("SELECT count(*) FROM series x, series y, series z WHERE x.a * y.a + z.a = 7")
"""


def test_an_interrupt_ends_a_question(tmp_path: Path) -> None:
    """Ctrl-C ends a long question at once; its process ends too, and nothing stays in the scratch folder."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", LONG], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout.readline() == b"asking\n"
        process.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in process.stderr.read()
    assert process.returncode == -signal.SIGINT
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("SELECT interval '1 day' AS x", "0 months 1 days 0 s"),
        ("SELECT date '9999-12-31' + interval '5 years' AS x", "10004-12-31"),
        ("SELECT to_timestamp_nanos(1) AS x", dt.datetime(1970, 1, 1)),  # noqa: DTZ001 - as SQL has it
    ],
)
def test_every_answer_can_be_written(question: str, expected: object) -> None:
    """Types that Python lacks, and dates beyond its own, come as text; nanoseconds as microseconds."""
    with engine({"series": pa.table({"a": [1]})}) as sql:
        (row,) = sql.ask(question).to_pylist()
    assert row["x"] == expected
