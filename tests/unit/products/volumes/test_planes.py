from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dicom_series_preview.products.volumes.extents import Extent, Slab, extents_of
from dicom_series_preview.products.volumes.planes import (
    Middle,
    direction_letters,
    opposite_letters,
    picture_of,
)

# Right to left, front to back, head to feet: a head whose every place can be told.
SHAPE = {0: 6, 1: 10, 2: 8}
RAS_STEPS = {0: 2.0, 1: 1.0, 2: 3.0}


def patient() -> NDArray[np.int16]:
    """An array [x, y, z] in RAS, each voxel another value."""
    lengths = [SHAPE[axis] for axis in range(3)]
    return np.arange(np.prod(lengths), dtype=np.int16).reshape(lengths)


def orientations() -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """All 48 ways to store an array: the patient's axis of each index (column, row, slice), and its sign."""
    return list(product(permutations(range(3)), product((1, -1), repeat=3)))


def stored(axes: tuple[int, ...], signs: tuple[int, ...]) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """The patient stored so: an array (t, z, y, x), and its affine."""
    turned = patient().transpose([axes[2], axes[1], axes[0]])
    turned = turned[tuple(slice(None, None, sign) for sign in reversed(signs))]
    affine = np.eye(4)
    affine[:3, :3] = 0
    for index, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[axis, index] = sign * RAS_STEPS[axis]
        affine[axis, 3] = 0 if sign > 0 else RAS_STEPS[axis] * (SHAPE[axis] - 1)
    return turned[np.newaxis], affine


def middle_of(data: NDArray[Any], itemsize: int = 1) -> Middle:
    """The planes of an array, taken slab by slab."""
    middle = Middle(data.shape, data.dtype)
    for extent in extents_of(data.shape, itemsize):
        middle.add(Slab(extent, data[slice(*extent.t), slice(*extent.z)]))
    return middle


@pytest.mark.parametrize(("axes", "signs"), orientations())
def test_planes_of_every_orientation_look_alike(axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    """However an array is stored, right is on the left, the front and the head are on top."""
    data, affine = stored(axes, signs)
    planes = middle_of(data).planes(affine)
    assert [plane.name for plane in planes] == ["axial", "coronal", "sagittal"]
    assert [(plane.right, plane.bottom) for plane in planes] == [("L", "P"), ("L", "I"), ("P", "I")]
    x, y, z = RAS_STEPS.values()
    assert [plane.spacing_mm for plane in planes] == [(y, x), (z, x), (z, y)]
    # The middle of an even number of places is the one after it, as the array counts.
    x_at, y_at, z_at = (
        SHAPE[axis] // 2 if signs[axes.index(axis)] > 0 else SHAPE[axis] - 1 - SHAPE[axis] // 2
        for axis in range(3)
    )
    whole = patient()
    expected = [whole[::-1, ::-1, z_at].T, whole[::-1, y_at, ::-1].T, whole[x_at, ::-1, ::-1].T]
    for plane, values in zip(planes, expected, strict=True):
        assert np.array_equal(plane.values, values), plane.name


def test_letters_of_oblique_directions() -> None:
    """A direction more than 5 degrees off an axis has the letters of all axes that it follows."""
    assert direction_letters(np.array([3.0, 0.0, 0.0])) == "R"
    assert direction_letters(np.array([-1.0, 0.05, 0.0])) == "L"
    assert direction_letters(np.array([0.1, -1.0, 0.4])) == "PSR"
    assert opposite_letters("PSR") == "AIL"


def test_oblique_planes_tell_the_tilt() -> None:
    """Coronal and axial planes that are tilted by 20 degrees have two letters above and below."""
    data, affine = stored((0, 1, 2), (-1, -1, -1))
    angle = np.radians(20)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine[:3, :3] = turn @ affine[:3, :3]
    axial, coronal, sagittal = middle_of(data).planes(affine)
    assert (axial.right, axial.bottom) == ("L", "PI")
    assert (coronal.right, coronal.bottom) == ("L", "IA")
    assert (sagittal.right, sagittal.bottom) == ("PI", "IA")


def test_the_middle_volume_of_several() -> None:
    """Of several volumes the middle one is shown, also where a slab has a part of one."""
    data = np.arange(3 * 70 * 2 * 2, dtype=np.int16).reshape(3, 70, 2, 2)
    planes = middle_of(data, itemsize=2).planes(np.diag([-1.0, -1.0, -1.0, 1.0]))
    assert np.array_equal(planes[0].values, data[1, 35])
    assert np.array_equal(planes[1].values, data[1, :, 1])


def test_the_picture_is_in_true_proportions() -> None:
    """A millimetre is as long in each plane and each direction, and colour stays colour."""
    # 6 x 10 x 8 voxels of 2 x 1 x 3 mm: 12 x 10 x 24 mm, so that 24 mm are 240 pixels.
    data, affine = stored((0, 1, 2), (-1, -1, -1))
    drawn = picture_of(
        middle_of(data).planes(affine), lambda values: np.full(values.shape, 255, np.uint8), 240
    )
    lit = np.array(drawn) == 255
    down, across = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    assert len(down) == 240
    edges = np.flatnonzero(np.diff(across) > 1)
    assert [len(run) for run in np.split(across, edges + 1)] == [120, 120, 100]
    colour = np.zeros((1, 2, 3, 4, 3), np.uint8)
    assert picture_of(middle_of(colour).planes(affine), lambda values: values).mode == "RGB"


def test_an_image_without_a_place_has_no_letters() -> None:
    """An image that lies nowhere in the patient is shown as it is stored."""
    data = np.arange(12, dtype=np.int16).reshape(1, 1, 3, 4)
    (plane,) = middle_of(data).planes(None)
    assert (plane.name, plane.right, plane.bottom) == ("", "", "")
    assert np.array_equal(plane.values, data[0, 0])
    assert picture_of([plane], lambda values: values.astype(np.uint8), 64).width >= 64


def test_a_slab_beyond_the_middle_changes_nothing() -> None:
    """Volumes that are not the middle one leave no trace."""
    middle = Middle((3, 1, 2, 2), np.dtype(np.int16))
    middle.add(Slab(Extent((2, 3), (0, 1)), np.ones((1, 1, 2, 2), np.int16)))
    assert not middle.planes(None)[0].values.any()
