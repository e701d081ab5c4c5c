"""Pictures along the dimensions of a stack."""

import json
from typing import Any

import numpy as np
import pytest

import make_dicom
from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.products.pictures.requests import MosaicRequest
from rendering import Bench, files, greys, uniform

ECHOES, TIMES, LOCATIONS = (5.0, 10.0), (1, 2, 3), 4


def bench(locations: int = LOCATIONS) -> Bench:
    """A stack of echoes and times; a slice's grey is 100 x echo + 30 x time + location, from the top down."""
    made = []
    for time in TIMES:
        for number, echo in enumerate(ECHOES):
            for location in range(locations):
                value = 100 * number + 30 * time + location
                place: dict[str, Any] = {"ImagePositionPatient": [0, 0, -3.0 * location]}
                axes = {"EchoTime": echo, "TemporalPositionIdentifier": time}
                window = {"WindowCenter": 128, "WindowWidth": 256}
                made.append(uniform(len(made) + 1, value, **place, **axes, **window))
    return Bench(files(*made), output="a.png", options={"image_width": 16})


def expected(echo: int, time: int) -> list[int]:
    """The greys of one echo and time."""
    return [100 * echo + 30 * time + location for location in range(LOCATIONS)]


def shown(rendered: Any) -> list[int]:
    """The greys of a picture's tiles."""
    return greys(rendered)[: len(rendered.report.tiles)]


def near(found: list[int], values: list[int]) -> bool:
    return len(found) == len(values) and bool(np.all(np.abs(np.array(found) - values) <= 1))


def test_a_mosaic_never_mixes_dimensions() -> None:
    """A mosaic of a stack of echoes and times shows the first of both, and says so."""
    report = (rendered := bench().mosaic()).report
    assert near(shown(rendered), expected(0, 1))
    assert report.warnings == (
        'only echo time=5 is shown, the first of 2; the option at shows another, such as "echo time=10"',
        'only time=1 is shown, the first of 3; the option at shows another, such as "time=2"',
    )
    told = "4 of 24 slices, echo time=5 (the first of 2; --at shows another), time=1 (the first of 3; "
    assert told in report.summary()
    assert report.in_short()["at"] == ["echo time=5", "time=1"]


@pytest.mark.parametrize(("echo", "time"), [(0, 2), (1, 1), (1, 3)])
def test_places_are_chosen(echo: int, time: int) -> None:
    """Each picture shows the slices at the places asked for, and there is nothing to warn of."""
    places = [f"EchoTime={ECHOES[echo]}", f"time={time}"]
    rendered = bench().mosaic(at=places)
    assert near(shown(rendered), expected(echo, time))
    assert rendered.report.warnings == ()
    assert [(one.text, one.asked) for one in rendered.report.at] == [
        (f"echo time={ECHOES[echo]:g}", True),
        (f"time={time}", True),
    ]
    assert near(shown(bench().image(0.0, at=places)), expected(echo, time)[:1])
    assert near(shown(bench().image(1.0, at=places)), expected(echo, time)[-1:])
    contrasts = bench().contrasts("embedded", at=places, position=1.0)
    assert near(shown(contrasts), expected(echo, time)[-1:])


def test_an_offset_moves_within_the_chosen_slices() -> None:
    """One step on from a position is the next location of the same echo and time."""
    assert near(shown(bench().image(0.0, slice_offset=2, at=["te=10", "time=2"])), expected(1, 2)[2:3])
    with pytest.raises(RequestError, match=r"slice_offset: 4 leads past the end .* \(slice 0 of 0\.\.3\)"):
        bench().image(0.0, slice_offset=4, at=["te=10"])


def test_positions_are_those_of_the_chosen_slices() -> None:
    """Positions run from 0 to 1 over the chosen slices."""
    report = bench().mosaic(at=["time=3"]).report
    assert [tile.position for tile in report.tiles] == pytest.approx([0, 1 / 3, 2 / 3, 1], abs=1e-6)


def test_a_single_location_runs_over_time() -> None:
    """A stack of one location shows all times of the first echo."""
    rendered = bench(1).mosaic()
    assert near(shown(rendered), [30, 60, 90])
    assert [one.text for one in rendered.report.at] == ["echo time=5"]


def test_pictures_of_other_places_have_other_identities() -> None:
    """The ETag of each place differs, so that no cached picture passes for another, and stays as it is."""
    one = bench()
    identities = [
        one.service.plan(one.request(MosaicRequest, at=places)).identity
        for places in ([], ["te=10"], ["time=2"], ["te=10", "time=2"])
    ]
    again = one.service.plan(one.request(MosaicRequest, at=["te=10"])).identity
    assert len(set(identities)) == 4
    assert again == identities[1]


def test_the_report_has_the_facts_of_the_shown_stack() -> None:
    """The report's facts are those of the stack, with its dimensions and their values."""
    rendered = bench().mosaic()
    document = json.loads(rendered.report.to_json(rendered.plan.facts()))
    assert document["facts"]["shape"] == "slice x echo time x time"
    assert [one["values"] for one in document["facts"]["dimensions"]] == [[5.0, 10.0], [1.0, 2.0, 3.0]]
    assert document["at"][0] == {
        "name": "echo time",
        "element": "EchoTime",
        "text": "echo time=5",
        "number": 1,
        "of": 2,
        "asked": False,
        "which": "the first of 2",
    }
    assert "facts" not in json.loads(rendered.report.to_json())


def test_mosaics_taken_apart_show_one_time() -> None:
    """Siemens mosaics of several times run over time whole, and over the slices of the first taken apart."""
    made = [
        make_dicom.mosaic(
            np.full((4, 8, 8), 10 * number, np.uint16),
            number,
            ImagePositionPatient=[0, 0, 0],
            AcquisitionTime=f"10000{number}",
        )
        for number in (1, 2, 3)
    ]
    one = Bench(files(*made))
    assert len(one.mosaic().report.tiles) == 3
    apart = one.mosaic(untile="true").report
    assert {tile.file_name for tile in apart.tiles} == {"1.dcm"}
    assert len(apart.tiles) == 4
    second = one.mosaic(untile="true", at=["time=2"]).report
    assert {tile.file_name for tile in second.tiles} == {"2.dcm"}


def test_a_place_is_text_in_python_too() -> None:
    """Python takes one text, or several; each is checked."""
    alone, listed = (MosaicRequest.from_values("S", {"at": given}) for given in ("b=1", ["b=1"]))
    assert alone == listed == MosaicRequest.from_strings("S", "-", {"at": ["b=1"]})
    with pytest.raises(RequestError, match="at: '3' is no text"):
        MosaicRequest.from_values("S", {"at": [3]})
    with pytest.raises(RequestError, match="at: is given 17 times; give 16 at most"):
        MosaicRequest.from_strings("S", "-", {"at": ["b=1"] * 17})


def test_a_plain_stack_is_not_searched() -> None:
    """A stack of one slice a location has nothing to choose, and nothing is said of it."""
    made = [uniform(number, number, EchoTime=float(number)) for number in range(1, 5)]
    plan = (one := Bench(files(*made))).service.plan(one.request(MosaicRequest))
    assert (plan.choice, plan.warnings) == (None, ())
