import csv
import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import make_dicom
import planted
from dicom_series_preview.__main__ import main

SCRIPT = "<script>alert(1)</script>"
HOSTILE = "<img src=x onerror=alert(2)>"


class Page(HTMLParser):
    """What a page is made of, as a browser sees it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.words.append(data)

    @property
    def text(self) -> str:
        """All text, spaces made one."""
        return " ".join(" ".join(self.words).split())

    def pictures(self, alt: str) -> list[str | None]:
        """The addresses of the pictures of a kind."""
        return [found["src"] for tag, found in self.tags if tag == "img" and found["alt"] == alt]


class Run:
    """A root with series, their volumes, and a report of them.

    Args:
        folder: Where all of it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.root, self.volumes, self.outcomes = folder / "root", folder / "volumes", folder / "run.json"
        self.page = folder / "report.html"

    def series(self, name: str, count: int = 4, **elements: Any) -> None:
        """Write a series of noise."""
        (self.root / name).mkdir(parents=True)
        rng = np.random.default_rng(len(name))
        for number in range(1, count + 1):
            pixels = rng.integers(0, 2000, (16, 12), dtype=np.uint16).tobytes()
            values = {"Rows": 16, "Columns": 12, "PixelData": pixels, "PixelSpacing": [1.0, 1.0], **elements}
            uid = f"{make_dicom.SERIES_UID}.{len(name)}"
            made = make_dicom.image(number, SeriesInstanceUID=uid, SOPInstanceUID=f"{uid}.{number}", **values)
            (self.root / name / f"{number}.dcm").write_bytes(make_dicom.encode(made))

    def convert(self, to: str = "nii", *more: str) -> None:
        """Convert all series."""
        names = sorted(one.name for one in self.root.iterdir())
        arguments = ["--root", str(self.root), "-o", str(self.volumes), "--to", to, "--quiet", *more]
        main(["convert", *names, *arguments, "--report", str(self.outcomes)])

    def report(self, *more: str, source: bool = True) -> tuple[Page, dict[str, Any]]:
        """Make a report; return its page and its JSON."""
        where = ["--root", str(self.root)] if source else []
        assert main(["volume-report", str(self.volumes), str(self.page), *where, "--quiet", *more]) == 0
        return Page(self.page.read_text("utf-8")), json.loads(
            self.page.with_suffix(".json").read_text("utf-8")
        )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("DICOM_SERIES_PREVIEW_CACHE_DIR", str(tmp_path / "cache"))
    return Run(tmp_path)


@pytest.mark.parametrize("to", ["zarr", "zip", "sqlite", "nifti", "nii", "npz"])
def test_samples_of_every_format_equal_their_source(run: Run, to: str) -> None:
    """A slice that is read back from any format is shown beside the source decoded anew, and is equal."""
    run.series("ct")
    run.convert(to)
    page, facts = run.report()
    (sample,) = facts["samples"]
    assert sample["slices_compared"] == 3
    assert [one["equal"] for one in sample["slices"]] == [True] * 3
    assert {one["source"].rpartition(".")[0] for one in sample["slices"]} == {f"{make_dicom.SERIES_UID}.2"}
    names = ("DICOM decoded anew", "volume read back", "difference times 10")
    anew, back, off = (page.pictures(name) for name in names)
    assert anew == back
    assert len(set(anew)) == 3
    assert len(set(off)) == 1
    assert len(page.pictures("planes through the middle")) == 1
    assert "axial, coronal, sagittal" in page.text


def test_the_page_needs_nothing_else(run: Run) -> None:
    """The page has no script, no link, and a policy under which a browser would load none."""
    run.series("ct")
    run.convert()
    page, _ = run.report()
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "form", "a", "base"}
    assert all(
        str(found["src"]).startswith("data:image/webp;base64,") for tag, found in page.tags if tag == "img"
    )
    assert not [name for _, found in page.tags for name in found if name.startswith("on") or name == "style"]
    (policy,) = [found["content"] for _, found in page.tags if "http-equiv" in found]
    assert str(policy).startswith("default-src 'none'; img-src data:; style-src 'sha256-")


def test_what_others_wrote_is_text(run: Run) -> None:
    """Names of folders and files, values of headers, and outcomes are shown as text, never as markup."""
    run.series(HOSTILE, SeriesDescription=SCRIPT, ImageComments=SCRIPT, Manufacturer=HOSTILE)
    run.series("two kinds", SeriesDescription=SCRIPT, PixelSpacing=None)
    run.convert("nii", "--split", "SeriesDescription")
    outcomes = json.loads(run.outcomes.read_text("utf-8"))
    outcomes.append({"series": SCRIPT, "status": "failed", "error": f"{SCRIPT} {HOSTILE}"})
    run.outcomes.write_text(json.dumps(outcomes), "utf-8")
    (run.volumes / f"{HOSTILE}.npz").write_bytes(b"")
    page, facts = run.report("--outcomes", str(run.outcomes))
    assert facts["totals"]["volumes"] == 1
    assert {tag for tag, _ in page.tags if tag in ("script", "img")} == {"img"}
    assert not [found for _, found in page.tags if "onerror" in found]
    assert f"{HOSTILE}.nii" in page.text
    assert f"{SCRIPT} {HOSTILE} (failed)" in page.text


def test_nothing_of_the_patient(run: Run) -> None:
    """Neither page nor JSON nor CSV has a value of the headers that tells who the patient is."""
    run.series("ct", **planted.PATIENT)
    run.convert("nifti")
    run.report("--outcomes", str(run.outcomes))
    for extension in (".html", ".json", ".csv"):
        text = run.page.with_suffix(extension).read_text("utf-8")
        planted.check(extension, text, planted.OF_PATIENTS)
        assert str(run.root.parent) not in text.replace(str(run.volumes), "")


def test_the_same_run_gives_the_same_report(run: Run) -> None:
    """Samples are chosen by what the run holds: twice the same, and others where it holds other values."""
    for number in range(12):
        run.series(f"ct{'-' * number}")
    run.convert()
    _, first = run.report("--samples", "4", "--slices", "2")
    page = run.page.read_bytes()
    run.report("--samples", "4", "--slices", "2")
    assert run.page.read_bytes() == page
    assert len(first["samples"]) == 4
    assert all(len(one["slices"]) == 2 for one in first["samples"])
    (run.volumes / "ct.nii").unlink()
    (run.volumes / "ct.json").unlink()
    _, other = run.report("--samples", "4", "--slices", "2")
    assert other["samples"] != first["samples"]


def test_every_failure_is_among_the_samples(run: Run) -> None:
    """What cannot be read back, or is not as its receipt says, is shown however few samples there are."""
    for number in range(6):
        run.series(f"ct{'-' * number}", count=9)
    run.convert()
    spoilt = run.volumes / "ct---.nii"
    data = bytearray(spoilt.read_bytes())
    # One voxel of the seventh slice, row 5, column 6: 256 HU off.
    data[352 + 2 * (6 * 16 * 12 + 5 * 12 + 6) + 1] ^= 1
    spoilt.write_bytes(data)
    (run.volumes / "ct-.nii").write_bytes(b"no NIfTI")
    page, facts = run.report("--samples", "1", "--verify")
    assert [one["output"] for one in facts["samples"]] == ["ct---.nii", "ct-.nii"]
    differs, unreadable = facts["samples"]
    assert unreadable["slices"] == []
    assert "1 of 9 slices differ from the source" in differs["problem"]
    assert differs["slices_compared"] == 9
    assert len(differs["slices"]) == 3
    (off,) = [one for one in differs["slices"] if not one["equal"]]
    assert (off["number"], off["largest_difference"]) == (6, 256.0)
    assert "slice 7 of 9: largest difference 256 HU" in page.text
    assert {one["output"]: one["status"] for one in facts["volumes"]}["ct---.nii"] == "failed"
    assert facts["totals"]["failed"] == 2


def test_one_voxel_is_seen_in_a_large_slice(run: Run) -> None:
    """The picture of differences, however much smaller than the slice, shows one voxel that is off by 1."""
    side = 1000
    pixels = np.zeros((side, side), np.uint16).tobytes()
    run.series("ct", 2, Rows=side, Columns=side, PixelData=pixels)
    run.convert()
    spoilt = run.volumes / "ct.nii"
    data = bytearray(spoilt.read_bytes())
    data[352 + 2 * (side * 333 + 777)] ^= 1
    spoilt.write_bytes(data)
    page, facts = run.report()
    assert [one["largest_difference"] for one in facts["samples"][0]["slices"]] == [1.0, 0.0]
    off, none = page.pictures("difference times 10")
    assert off != none


def test_without_a_source_the_page_says_so(run: Run) -> None:
    """Without a root, or where the series is gone, the volume is shown alone, and the page says why."""
    run.series("ct")
    run.convert()
    page, facts = run.report(source=False)
    assert facts["totals"]["localizer_slices_skipped"] is None
    assert "left out" not in page.text
    assert facts["samples"][0]["slices"][0]["equal"] is None
    assert "no source was given" in page.text
    assert not page.pictures("DICOM decoded anew")
    assert len(page.pictures("volume read back")) == 3
    (run.root / "ct").rename(run.root.parent / "elsewhere")
    page, _ = run.report()
    assert "its series is not below the root" in page.text
    assert len(page.pictures("volume read back")) == 3


def test_a_changed_source_is_compared_all_the_same(run: Run) -> None:
    """A source of other versions is decoded, and the page says both that it is another and what differs."""
    run.series("ct")
    run.convert()
    for path in (run.root / "ct").iterdir():
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    page, facts = run.report()
    assert "other versions than when it was made" in page.text
    assert "3 of 3 slices differ from the source" in page.text
    assert facts["totals"]["failed"] == 1


@pytest.mark.parametrize("name", ["../outside", "/etc", "s3://bucket/x", "file:///etc", "c*"])
def test_no_name_leads_elsewhere(run: Run, name: str) -> None:
    """A series that is named outside the root, or many, is not opened, whoever names it."""
    run.series("ct")
    run.convert()
    (run.root / "ct").rename(run.root.parent / "outside")
    document = json.loads(run.outcomes.read_text("utf-8"))
    document[0]["series"] = name
    run.outcomes.write_text(json.dumps(document), "utf-8")
    sidecar = run.volumes / "ct.json"
    receipt = json.loads(sidecar.read_text("utf-8"))
    receipt["DicomSeriesPreview"]["series_instance_uid"] = name
    sidecar.write_text(json.dumps(receipt), "utf-8")
    page, _ = run.report("--outcomes", str(run.outcomes))
    assert "its series is not below the root" in page.text


def test_a_receipt_names_no_folder(run: Run) -> None:
    """What is in a volume's file tells no folder: folders can be called as patients are."""
    run.series("Mustermann-Erika")
    for to in ("nii", "npz", "zarr"):
        run.convert(to)
    # The summary and the files in meta/ are for whoever has the archive: they say where a series lies.
    volumes = [one for one in run.volumes.iterdir() if one.name != "meta" and "summary" not in one.name]
    found = [one for top in volumes for one in (top, *top.rglob("*")) if one.is_file()]
    assert len(found) > 4
    assert not [one.name for one in found if b"Mustermann" in one.read_bytes()]


def test_another_series_of_the_name_is_not_the_source(run: Run) -> None:
    """A series of the output's name and shape, and of another UID, is not taken for its source."""
    run.series("ct")
    run.convert()
    for path in (run.root / "ct").iterdir():
        path.unlink()
    (run.root / "ct").rmdir()
    run.series("ct-")
    (run.root / "ct-").rename(run.root / "ct")
    page, facts = run.report()
    assert "it has no such volume any more" in page.text
    assert facts["totals"]["failed"] == 0


def test_outputs_in_folders_find_their_source(run: Run) -> None:
    """An output in a folder is found by the rest of its path, one of any name by the outcomes."""
    run.series("ct")
    run.convert()
    (run.volumes / "nii").mkdir()
    for extension in (".nii", ".json"):
        (run.volumes / f"ct{extension}").rename(run.volumes / "nii" / f"ct{extension}")
    _, facts = run.report()
    assert facts["samples"][0]["slices_compared"] == 3
    named = run.volumes / "named.npz"
    main(["convert", str(run.root / "ct"), str(named), "--quiet", "--report", str(run.outcomes)])
    _, facts = run.report("--outcomes", str(run.outcomes))
    assert [one["slices_compared"] for one in facts["samples"]] == [3, 3]


@pytest.mark.parametrize(
    ("key", "value"),
    [("dtype", "nonsense"), ("min", "x"), ("dims_xyzt", 3), ("spacing_mm", ["a"]), ("tilt_deg", "<b>")],
)
def test_a_receipt_of_other_types_is_a_failure(run: Run, key: str, value: object) -> None:
    """A receipt whose values are none that a volume has fails that output alone."""
    run.series("ct")
    run.series("ct-")
    run.convert()
    sidecar = run.volumes / "ct.json"
    document = json.loads(sidecar.read_text("utf-8"))
    document["DicomSeriesPreview"]["volume"][key] = value
    sidecar.write_text(json.dumps(document), "utf-8")
    _, facts = run.report()
    assert [one["status"] for one in facts["volumes"]] == ["ok", "failed"]


def test_refusals_and_lost_outputs_are_told(run: Run) -> None:
    """With the outcomes of a run, refusals are counted by reason, and an output that is gone is a failure."""
    run.series("ct")
    run.series("ct-")
    run.series("one", 1)
    run.convert()
    (run.volumes / "ct.nii").unlink()
    (run.volumes / "ct.json").unlink()
    page, facts = run.report("--outcomes", str(run.outcomes))
    assert facts["refusals"] == [{"code": "missing", "count": 1}, {"code": "single_location", "count": 1}]
    assert (facts["totals"]["volumes"], facts["totals"]["failed"], facts["totals"]["refused"]) == (1, 1, 1)
    assert "its output ct.nii is not in this folder (missing)" in page.text
    with run.page.with_suffix(".csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["status"] for row in rows] == ["ok", "failed", "refused"]
    assert rows[0]["dims_xyzt"] == "12 16 4"
    assert rows[0]["slices_proved"] == "4"
    assert facts["volumes"][0]["series"] == "ct-"


def test_judged_quality_is_told(run: Run) -> None:
    """Where a receipt has the quality of its volume, the report counts and names those of low quality."""
    run.series("ct")
    run.series("ct-")
    run.convert()
    page, facts = run.report()
    assert "Quality" not in page.text
    assert facts["totals"]["low_quality"] == 0
    sidecar = run.volumes / "ct.json"
    document = json.loads(sidecar.read_text("utf-8"))
    document["DicomSeriesPreview"]["quality"] = {"low_quality": True, "low_quality_reason": "Low contrast"}
    sidecar.write_text(json.dumps(document), "utf-8")
    page, facts = run.report()
    assert "Quality" in page.text
    assert facts["totals"]["low_quality"] == 1
    assert [one["low_quality"] for one in facts["volumes"]] == [None, True]


def test_the_proof_is_told_as_it_was_done(run: Run) -> None:
    """A volume of which no slice was proved is not said to be."""
    run.series("ct")
    run.convert("nii", "--verify", "0")
    page, facts = run.report()
    assert facts["totals"]["slices_proved"] == 0
    assert "0 of 4" in page.text


def test_what_is_no_outcome_or_page_is_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that no `convert` wrote, a folder that is none, a page of another name: one line each."""
    run.volumes.mkdir()
    wrong = run.volumes.parent / "wrong.json"
    wrong.write_text('[{"volumes": 3}]', "utf-8")
    for arguments in (
        [str(run.volumes), str(run.page), "--outcomes", str(wrong)],
        [str(run.volumes), str(run.page), "--outcomes", str(wrong) + "x"],
        [str(run.volumes / "none"), str(run.page)],
        [str(run.volumes), "report.txt"],
    ):
        assert main(["volume-report", *arguments]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")


def test_without_the_extra_a_line_says_so(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the extra is not installed, one line says what is missing and how to get it."""
    run.volumes.mkdir()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert main(["volume-report", str(run.volumes), str(run.page)]) == 1
    told = "error: jinja2 is not installed; pip install 'dicom-series-preview[volumes]' installs it\n"
    assert capsys.readouterr().err == told


def test_a_run_without_volumes_has_a_page(run: Run) -> None:
    """An empty folder is a run, too."""
    run.volumes.mkdir()
    page, facts = run.report()
    assert "There is no volume." in page.text
    assert facts["totals"]["volumes"] == 0


@pytest.mark.parametrize("values", ["modality", "stored"])
def test_windows_are_those_of_the_source(run: Run, values: str) -> None:
    """A volume has its source's window, in modality values, whether they or stored ones are kept."""
    run.series("ct", WindowCenter=40, WindowWidth=400)
    run.convert("nii", "--values", values)
    page, _ = run.report()
    assert "window 400/40, the source's." in page.text
    assert page.pictures("DICOM decoded anew") == page.pictures("volume read back")


def test_white_lowest_values_stay_white(run: Run) -> None:
    """MONOCHROME1 that was kept is shown as the source means it: low values are bright."""
    dark = np.zeros((16, 12), np.uint16)
    dark[:, 6:] = 2000
    run.series("ct", PixelData=dark.tobytes(), WindowCenter=0, WindowWidth=2000)
    run.series("ct-", PixelData=dark.tobytes(), WindowCenter=0, WindowWidth=2000)
    for path in (run.root / "ct-").iterdir():
        path.write_bytes(path.read_bytes().replace(b"MONOCHROME2", b"MONOCHROME1"))
    run.convert("nii")
    page, _ = run.report("--slices", "1")
    plain, turned = page.pictures("volume read back")
    assert plain != turned
