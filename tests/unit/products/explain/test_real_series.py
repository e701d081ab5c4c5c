"""What is said of real series, line by line, against what pydicom reads in their headers."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_series_preview.products.explain.lines import lines_of
from explaining import explained

pytestmark = pytest.mark.real_data


@dataclass(frozen=True)
class Image:
    """What pydicom reads of a frame: its object's data set, and its place."""

    header: pydicom.Dataset
    position: np.ndarray
    cosines: np.ndarray
    window: tuple[float, float]
    b_value: float | None = None
    direction: tuple[float, ...] | None = None

    @property
    def normal(self) -> np.ndarray:
        """The normal of its plane."""
        return np.cross(self.cosines[:3], self.cosines[3:])


def images(folder: Path) -> list[Image]:
    """All frames of a folder."""
    found = []
    for path in sorted(folder.iterdir()):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        if "PerFrameFunctionalGroupsSequence" in header:
            found += [_frame(header, group) for group in header.PerFrameFunctionalGroupsSequence]
        else:
            window = tuple(
                float(value[0] if isinstance(value, pydicom.multival.MultiValue) else value)
                for value in (header.get("WindowCenter", 0), header.get("WindowWidth", 0))
            )
            position, cosines = (
                np.array(header[keyword].value, float)
                for keyword in ("ImagePositionPatient", "ImageOrientationPatient")
            )
            found.append(Image(header, position, cosines, window))
    return found


def _frame(header: pydicom.Dataset, group: pydicom.Dataset) -> Image:
    voi = group.FrameVOILUTSequence[0]
    diffusion = group.MRDiffusionSequence[0]
    direction = None
    if "DiffusionGradientDirectionSequence" in diffusion:
        vector = diffusion.DiffusionGradientDirectionSequence[0].DiffusionGradientOrientation
        direction = tuple(round(float(one), 3) for one in vector)
    return Image(
        header,
        np.array(group.PlanePositionSequence[0].ImagePositionPatient, float),
        np.array(group.PlaneOrientationSequence[0].ImageOrientationPatient, float),
        (float(voi.WindowCenter), float(voi.WindowWidth)),
        float(diffusion.DiffusionBValue),
        direction,
    )


def heights(stack: list[Image]) -> list[float]:
    """The different distances along the normal, 0.01 mm apart or more, ascending."""
    found: list[float] = []
    for value in sorted(float(one.position @ one.normal) for one in stack):
        if not found or value - found[-1] >= 0.01:
            found.append(value)
    return found


def ends(stack: list[Image], axis: int, sign: int) -> str:
    """The coordinates of the first and the last location, where display runs along or against an axis."""
    values = sorted((float(one.position[axis]) for one in stack), reverse=sign < 0)
    return f"({'xyz'[axis]} {values[0]:.2f} to {values[-1]:.2f} mm)"


def window(stack: list[Image], views: int = 1) -> str:
    """The line on windows, of what the headers say."""
    spans = []
    for values in zip(*(one.window for one in stack), strict=True):
        low, high = min(values), max(values)
        spans.append(f"{low:g}" if low == high else f"{low:g} to {high:g}")
    several = f", the first of {views} views" if views > 1 else ""
    return (
        f"  Window: embedded, by WindowCenter and WindowWidth: center {spans[0]}, width {spans[1]}, "
        f"LINEAR{several}"
    )


BY_POSITION = "  Order: by ImagePositionPatient along the normal of ImageOrientationPatient, "
DOWN, FORWARD, LEFT = "superior to inferior ", "posterior to anterior ", "right to left "
ONE_STACK = "  Grouped: all images have one SeriesInstanceUID, size and orientation, so one stack"


def size(stack: list[Image]) -> str:
    return f"{stack[0].header.Columns} x {stack[0].header.Rows} pixels"


def is_one_stack(found: list[Image]) -> None:
    """Assert by the headers that images have one series, size and orientation, and are no localizers."""
    assert len({one.header.SeriesInstanceUID for one in found}) == 1
    assert len({(one.header.Rows, one.header.Columns) for one in found}) == 1
    assert np.ptp([one.cosines for one in found], axis=0).max() < 1e-3
    assert not any("LOCALIZER" in one.header.ImageType for one in found)


def check(folder: Path, expected: list[str]) -> None:
    assert list(lines_of(explained(folder)))[1:] == expected


def test_a_4d_fmri(real_data: Path) -> None:
    """FMRI of a GE scanner: nothing but the instances' numbers tells its volumes apart."""
    folder = real_data / "series" / "mr-fmri-ge-4d"
    found = images(folder)
    is_one_stack(found)
    each = Counter(round(float(one.position @ one.normal), 2) for one in found)
    assert len(set(each.values())) == 1
    for keyword in (
        "EchoTime",
        "FlipAngle",
        "AcquisitionTime",
        "AcquisitionNumber",
        "ContentTime",
        "TriggerTime",
    ):
        at_one = {str(one.header.get(keyword)) for one in found if one.position[2] == found[0].position[2]}
        assert len(at_one) == 1, keyword
    places, repetitions = heights(found), next(iter(each.values()))
    steps = np.diff(places)
    assert np.allclose(steps, steps[0], rtol=0.01)
    check(
        folder,
        [
            f"  {len(found)} objects, 1 stack",
            ONE_STACK,
            f"Stack 0: MR, axial, {size(found)}",
            f"  Slices: {len(found)} at {len(places)} locations: slice x repetition",
            f"{BY_POSITION}{DOWN}{ends(found, 2, -1)}",
            "  At one location: by InstanceNumber",
            f"  Dimension: repetition, {repetitions} places, by InstanceNumber: 1 to {repetitions}",
            f'  Pictures show: repetition=1, the first of {repetitions}; --at "repetition=2" shows another',
            f"  Spacing: {steps[0]:.2f} mm, regular; from first to last {places[-1] - places[0]:.2f} mm",
            window(found),
        ],
    )


def test_echoes_with_a_missing_slice(real_data: Path) -> None:
    """Echoes of a Siemens scanner: a slice is missing in space, and two in some echoes."""
    folder = real_data / "series" / "mr-multiecho-siemens"
    found = images(folder)
    is_one_stack(found)
    echoes = sorted({float(one.header.EchoTime) for one in found})
    places = heights(found)
    absent = len(echoes) * len(places) - len(found)
    # Display runs down, against the normal.
    steps = np.diff(places)[::-1]
    each = {(float(one.header.EchoTime), round(float(one.position[2]), 2)) for one in found}
    z = sorted({round(float(one.position[2]), 2) for one in found}, reverse=True)
    assert round(steps[0] / steps[1]) == 2
    check(
        folder,
        [
            f"  {len(found)} objects, 1 stack",
            ONE_STACK,
            f"Stack 0: MR, axial, {size(found)}",
            f"  Slices: {len(found)} at {len(places)} locations: slice x echo time",
            f"{BY_POSITION}{DOWN}{ends(found, 2, -1)}",
            "  At one location: by InstanceNumber",
            f"  Dimension: echo time, {len(echoes)} values: {', '.join(f'{one:g}' for one in echoes)} ms",
            *(
                f"  Not everywhere: echo time={echo:g} is missing at location {number}"
                for echo in echoes
                for number, height in enumerate(z)
                if (echo, height) not in each
            ),
            f"  Absent: {absent} slices that other locations have in these dimensions",
            (
                f"  Pictures show: echo time={echoes[0]:g}, the first of 3; "
                f'--at "echo time={echoes[1]:g}" shows another'
            ),
            (
                f"  Spacing: irregular: {steps[0]:.2f} mm from location 0 to 1 (1 step); "
                f"{steps[1]:.2f} mm from location 1 to 2 (1 step); from first to last {steps.sum():.2f} mm"
            ),
            (
                f"  Gap: 1 slice is missing between locations 0 and 1 (z {z[0]:.2f} and {z[1]:.2f} mm): "
                f"{steps[0]:.2f} mm"
            ),
            window(found),
        ],
    )


def test_a_tilted_gantry_with_two_spacings(real_data: Path) -> None:
    """A head CT of a GE scanner: slices of 7 mm, then of 4 mm, with the gantry tilted."""
    folder = real_data / "series" / "ct-gantrytilt-ge"
    found = images(folder)
    is_one_stack(found)
    steps = np.diff(heights(found))[::-1]
    (tilt,) = {abs(float(one.header.GantryDetectorTilt)) for one in found}
    thick = [float(one.header.SliceThickness) for one in sorted(found, key=lambda one: -one.position[2])]
    runs = [thick.index(4.0), len(thick) - thick.index(4.0)]
    assert np.allclose(steps[: runs[0] - 1], 7.0, atol=0.01)
    assert np.allclose(steps[runs[0] :], 4.0, atol=0.01)
    line = np.array(found[0].position) - np.array(found[-1].position)
    cosine = abs(line @ found[0].normal) / np.linalg.norm(line)
    assert np.degrees(np.arccos(cosine)) == pytest.approx(tilt, abs=0.01)
    check(
        folder,
        [
            f"  {len(found)} objects, 1 stack",
            ONE_STACK,
            f"Stack 0: CT, axial, {size(found)}",
            f"  Slices: {len(found)}, each at a location of its own",
            f"{BY_POSITION}{DOWN}{ends(found, 2, -1)}",
            (
                f"  Spacing: irregular: 7.00 mm from location 0 to {runs[0] - 1} ({runs[0] - 1} steps); "
                f"{steps[runs[0] - 1]:.2f} mm from location {runs[0] - 1} to {runs[0]} (1 step); "
                f"4.00 mm from location {runs[0]} to {len(found) - 1} ({runs[1] - 1} steps); "
                f"from first to last {steps.sum():.2f} mm"
            ),
            f"  Oblique: {tilt:.1f} degrees off axial",
            (
                f"  Tilted: {tilt:.1f} degrees between the slices' normal and the line through their "
                "corners, as with a tilted gantry"
            ),
            window(found),
        ],
    )


def test_enhanced_diffusion(real_data: Path) -> None:
    """Enhanced diffusion of a Siemens scanner: an image without weighting, and directions of one b-value."""
    folder = real_data / "series" / "mr-dwi-siemens-enhanced-xa"
    found = images(folder)
    is_one_stack(found)
    b_values = sorted({one.b_value for one in found})
    directions = {one.direction for one in found}
    assert {one.b_value for one in found if one.direction is None} == {b_values[0]}
    places = heights(found)
    steps = np.diff(places)
    assert np.allclose(steps, steps[0], rtol=0.01)
    y = sorted({float(one.position[1]) for one in found})
    check(
        folder,
        [
            f"  {len(list(folder.iterdir()))} objects, 1 stack",
            ONE_STACK,
            f"Stack 0: MR, coronal, {size(found)}",
            f"  Slices: {len(found)} at {len(places)} locations: slice x b-value x direction",
            f"{BY_POSITION}{FORWARD}(y {y[-1]:.2f} to {y[0]:.2f} mm)",
            "  At one location: by InstanceNumber",
            f"  Dimension: b-value (DiffusionBValue), 2 values: {b_values[0]:g}, {b_values[1]:g} s/mm2",
            (
                f"  Dimension: direction (DiffusionGradientOrientation), {len(directions)} values: "
                f"1 to {len(directions) - 1}, none"
            ),
            (
                f'  Pictures show: b-value={b_values[0]:g}, the first of 2; --at "b-value={b_values[1]:g}" '
                "shows another"
            ),
            f"  Spacing: {steps[0]:.2f} mm, regular; from first to last {places[-1] - places[0]:.2f} mm",
            window(found),
        ],
    )


def test_a_localizer_in_the_series(real_data: Path) -> None:
    """A chest CT whose series has its localizer too."""
    folder = real_data / "series" / "ct-localizer-same-series"
    found = images(folder)
    (scout,) = [one for one in found if "LOCALIZER" in one.header.ImageType]
    stack = [one for one in found if one is not scout]
    is_one_stack(stack)
    assert scout.header.SeriesInstanceUID == stack[0].header.SeriesInstanceUID
    assert abs(scout.normal[1]) > 0.99
    (step,) = set(np.round(np.diff(heights(stack)), 6))
    check(
        folder,
        [
            f"  {len(found)} objects, 2 stacks",
            (
                "  Grouped: split by ImageType, ImageOrientationPatient; stack 0 is the main one, with the "
                "most slices of those that are no localizers"
            ),
            f"Stack 0: CT, axial, {size(stack)}",
            f"  Slices: {len(stack)}, each at a location of its own",
            f"{BY_POSITION}{DOWN}{ends(stack, 2, -1)}",
            f"  Spacing: {step:.2f} mm, regular; from first to last {step * (len(stack) - 1):.2f} mm",
            window(stack, len(stack[0].header.WindowCenter)),
            f"Stack 1: CT, coronal, localizer, {size([scout])}",
            (
                "  Apart from stack 0: ImageType names a localizer; "
                "ImageOrientationPatient: coronal instead of axial"
            ),
            "  Slices: 1",
            window([scout], len(scout.header.WindowCenter)),
        ],
    )


def test_two_orientations(real_data: Path) -> None:
    """A survey of a Philips scanner: sagittal and axial slices in one series, without windows."""
    folder = real_data / "series" / "mr-mixed-orientation-philips"
    found = images(folder)
    assert not any("WindowCenter" in one.header for one in found)
    sagittal, axial = ([one for one in found if np.argmax(np.abs(one.normal)) == axis] for axis in (0, 2))
    assert len(sagittal) == len(axial) == 2
    assert len({one.header.SeriesInstanceUID for one in found}) == 1
    # Of equally large stacks, the main one is the first.
    first = [
        tuple(
            min(float(one.header.get(keyword, "inf")) for one in stack)
            for keyword in ("AcquisitionTime", "AcquisitionNumber", "InstanceNumber")
        )
        for stack in (sagittal, axial)
    ]
    assert first[0] < first[1]
    auto = "  Window: auto, the 2nd to 98th percentile of the slices shown, as the file has no window"

    def of(stack: list[Image], axis: int, sign: int) -> list[str]:
        off = np.degrees(np.arccos(abs(stack[0].normal[axis])))
        return [
            f"{BY_POSITION}{LEFT if axis == 0 else DOWN}{ends(stack, axis, sign)}",
            f"  Spacing: {np.ptp(heights(stack)):.2f} mm between the two locations",
            f"  Oblique: {off:.1f} degrees off {'sagittal' if axis == 0 else 'axial'}",
            auto,
        ]

    check(
        folder,
        [
            f"  {len(found)} objects, 2 stacks",
            (
                "  Grouped: split by ImageOrientationPatient; stack 0 is the main one, the first of those "
                "with the most slices, by AcquisitionTime, AcquisitionNumber or InstanceNumber"
            ),
            f"Stack 0: MR, sagittal, {size(sagittal)}",
            "  Slices: 2, each at a location of its own",
            *of(sagittal, 0, 1),
            f"Stack 1: MR, axial, {size(axial)}",
            "  Apart from stack 0: ImageOrientationPatient: axial instead of sagittal",
            "  Slices: 2, each at a location of its own",
            *of(axial, 2, -1),
        ],
    )


def test_mosaics_whole_and_taken_apart(real_data: Path) -> None:
    """FMRI of a Siemens scanner: mosaics of one place over time; taken apart, slices by times."""
    folder = real_data / "series" / "mr-mosaic-siemens-4d"
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(folder.iterdir())]
    (count,) = {int(one[0x0019, 0x100A].value) for one in headers}
    spacing = float(headers[0].SpacingBetweenSlices)
    cosines = np.array(headers[0].ImageOrientationPatient, float)
    off = np.degrees(np.arccos(np.abs(np.cross(cosines[:3], cosines[3:])).max()))
    times = len({one.AcquisitionTime for one in headers})
    window_spans = [
        f"{min(values):g} to {max(values):g}"
        for values in (
            [float(np.atleast_1d(one[keyword].value)[0]) for one in headers]
            for keyword in ("WindowCenter", "WindowWidth")
        )
    ]
    check(
        folder,
        [
            f"  {len(headers)} objects, 1 stack",
            ONE_STACK,
            f"Stack 0: MR, axial, {headers[0].Columns} x {headers[0].Rows} pixels",
            f"  Slices: {times} at 1 location: slice x time",
            "  Order: all at one location, by InstanceNumber",
            f"  Dimension: time, {times} places in time, by AcquisitionTime: 1 to {times}",
            "  Pictures run over: time, as all slices lie at one location",
            f"  Oblique: {off:.1f} degrees off axial",
            (
                f"  Window: embedded, by WindowCenter and WindowWidth: center {window_spans[0]}, "
                f"width {window_spans[1]}, LINEAR"
            ),
            "Siemens mosaics taken apart (--untile):",
            f"  Slices: {count * times} at {count} locations: slice x time",
            f"  Dimension: time, {times} places in time, by AcquisitionTime: 1 to {times}",
            f'  Pictures show: time=1, the first of {times}; --at "time=2" shows another',
            f"  Spacing: {spacing:.2f} mm, regular; from first to last {spacing * (count - 1):.2f} mm",
            f"  Oblique: {off:.1f} degrees off axial",
        ],
    )


def test_every_folder_is_explained(real_data: Path) -> None:
    """Every folder of real files is explained without an error, in lines that hold no value but measures."""
    for folder in [
        *(real_data / "series").iterdir(),
        *(real_data / "single").iterdir(),
        real_data / "malformed",
    ]:
        found = explained(folder)
        lines = list(lines_of(found))
        assert lines[0].startswith(folder.name), folder
        assert all(line == line.rstrip() and "nan" not in line.split() for line in lines), folder
        names = {str(one.description) for one in (stack.stack for stack in found.stacks)} - {""}
        assert not [name for name in names for line in lines[2:] if len(name) > 8 and name in line]
