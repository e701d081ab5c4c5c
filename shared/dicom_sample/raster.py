"""Shapes on the sample's pixel grid: curves through level tables, filled contours, tubes, textures.

Coordinates are millimetres. x grows to the patient's left and y to the back (as in ImagePositionPatient);
s is the depth below the top of the scan, so it grows towards the feet. Images are float32, (GRID, GRID),
rows along y.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Array: TypeAlias = npt.NDArray[np.float32]
Points: TypeAlias = npt.NDArray[Any]

GRID = 512
PIXEL_MM = 0.859375  # 440 mm over 512 pixels
AXIS_MM: Array = ((np.arange(GRID) - (GRID - 1) / 2) * PIXEL_MM).astype(np.float32)
FAR_MM = 30.0


class Profile:
    """Values that change smoothly, and without overshoot, with the level s (Fritsch-Carlson cubics)."""

    def __init__(self, *rows: Sequence[float]) -> None:
        table = np.asarray(rows, np.float64)
        self._s, self._values = table[:, 0], table[:, 1:]
        secant = np.diff(self._values, axis=0) / np.diff(self._s)[:, None]
        slope = np.zeros_like(self._values)
        same = secant[:-1] * secant[1:] > 0
        total = np.where(same, secant[:-1] + secant[1:], 1.0)
        slope[1:-1] = np.where(same, 2.0 * secant[:-1] * secant[1:] / total, 0.0)
        slope[0], slope[-1] = secant[0], secant[-1]
        self._slope = slope

    @property
    def span(self) -> tuple[float, float]:
        """First and last level."""
        return float(self._s[0]), float(self._s[-1])

    def __call__(self, s: float) -> npt.NDArray[np.float64]:
        """Return the values at level s; beyond the table, those at its end."""
        s = min(max(s, self._s[0]), self._s[-1])
        i = min(int(np.searchsorted(self._s, s, side="right")) - 1, len(self._s) - 2)
        width = self._s[i + 1] - self._s[i]
        t = (s - self._s[i]) / width
        rest = 1.0 - t
        low, high = self._values[i], self._values[i + 1]
        bend = rest * rest * t * width * self._slope[i] - rest * t * t * width * self._slope[i + 1]
        result: npt.NDArray[np.float64] = (
            low * (rest * rest * (1 + 2 * t)) + high * (t * t * (3 - 2 * t)) + bend
        )
        return result


@dataclass(frozen=True, slots=True)
class Patch:
    """The share of each pixel of a box that a shape covers.

    Attributes:
        box: Rows and columns of the image.
        cover: 0 to 1, float32, the box's shape.
    """

    box: tuple[slice, slice]
    cover: Array

    def full(self) -> Array:
        """Return the cover on the whole grid."""
        image = np.zeros((GRID, GRID), np.float32)
        image[self.box] = self.cover
        return image


NOTHING = Patch((slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.float32))


def paint(image: Array, patch: Patch, value: float | Array, within: Array | None = None) -> None:
    """Blend a value (or an image of values) into the image, in place, where the patch covers it."""
    cover = patch.cover if within is None else patch.cover * within[patch.box]
    part = image[patch.box]
    part += cover * ((value if isinstance(value, (int, float)) else value[patch.box]) - part)


def blend(image: Array, cover: Array, value: float | Array) -> None:
    """Blend a value into the whole image, in place."""
    image += cover * (value - image)


def smooth(points: Sequence[Sequence[float]] | Points, *, closed: bool = True) -> Array:
    """Return a curve (Catmull-Rom) through points of any dimension, with about a millimetre per step."""
    knots = np.asarray(points, np.float64)
    length = float(np.abs(np.diff(knots[:, :2], axis=0)).sum())
    per = 4 * int(min(max(np.ceil(length / len(knots) / 4), 2), 12))
    return (_basis(len(knots), per, closed) @ knots).astype(np.float32)


@lru_cache(maxsize=64)
def _basis(count: int, per: int, closed: bool) -> npt.NDArray[np.float64]:  # noqa: FBT001 -- a cache key
    """Return the matrix from knots to points of their Catmull-Rom curve."""
    t = np.arange(per)[:, None] / per
    weights = 0.5 * np.hstack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3]
    )
    segments = count if closed else count - 1
    matrix = np.zeros((segments * per + (not closed), count))
    for segment in range(segments):
        for k in range(4):
            knot = segment + k - 1
            knot = knot % count if closed else min(max(knot, 0), count - 1)
            matrix[segment * per : (segment + 1) * per, knot] += weights[:, k]
    if not closed:
        matrix[-1, -1] = 1.0
    return matrix


def ellipse(
    centre: Sequence[float], radii: Sequence[float], turn_deg: float = 0.0, power: float = 2.0
) -> Array:
    """Return points of an ellipse, or of a superellipse of another power; a turn takes +x towards +y."""
    angle = np.linspace(0.0, 2.0 * np.pi, 96, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    x = radii[0] * np.sign(cos) * np.abs(cos) ** (2.0 / power)
    y = radii[1] * np.sign(sin) * np.abs(sin) ** (2.0 / power)
    c, s = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    return np.stack([centre[0] + c * x - s * y, centre[1] + s * x + c * y], axis=1).astype(np.float32)


def inset(curve: Array, depth_mm: float | Array) -> Array:
    """Move a dense closed curve inwards along its normals (outwards by a negative depth)."""
    tangent = np.roll(curve, -2, axis=0) - np.roll(curve, 2, axis=0)
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
    normal /= np.maximum(np.hypot(normal[:, 0], normal[:, 1]), 1e-6)[:, None]
    x, y = curve[:, 0], curve[:, 1]
    if float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) > 0:
        normal = -normal
    depth = np.broadcast_to(np.asarray(depth_mm, np.float32), x.shape)
    return np.asarray(curve + normal * depth[:, None], np.float32)


def ribbon(points: Sequence[Sequence[float]] | Points) -> Array:
    """Return the outline of a curved plate with round ends, from (x, y, half thickness) along its middle."""
    line = smooth(points, closed=False)
    along = np.linspace(-1.0, 1.0, len(line), dtype=np.float32)[:, None]
    middle, half = line[:, :2], line[:, 2:] * np.sqrt(1.0 - along**10)
    tangent = np.gradient(middle, axis=0)
    tangent /= np.maximum(np.hypot(tangent[:, 0], tangent[:, 1]), 1e-6)[:, None]
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    return np.concatenate([middle + normal * half, (middle - normal * half)[::-1]])


def fill(curve: Array) -> Patch:
    """Return the exact share of each pixel inside a closed curve of mm points, by signed areas along rows."""
    pixels = np.asarray(curve, np.float64) / PIXEL_MM + GRID / 2.0
    pixels = np.clip(pixels, 0.0, GRID - 1e-6)
    low = np.floor(pixels.min(axis=0)).astype(int)
    high = np.floor(pixels.max(axis=0)).astype(int) + 2
    step = np.roll(pixels, -1, axis=0) - pixels
    parts = int(np.ceil(np.abs(step).max() / 0.7)) or 1
    if parts > 1:
        t = (np.arange(parts) / parts)[None, :, None]
        pixels = (pixels[:, None, :] + step[:, None, :] * t).reshape(-1, 2)
    after = np.roll(pixels, -1, axis=0)
    column = (pixels[:, 0] + after[:, 0]) / 2.0 - low[0]
    row0, row1 = pixels[:, 1] - low[1], after[:, 1] - low[1]
    floor0, floor1 = np.floor(row0), np.floor(row1)
    border = np.where(floor0 == floor1, row1, np.maximum(floor0, floor1))
    height, width = int(high[1] - low[1]), int(high[0] - low[0])
    cell = np.floor(column)
    share = column - cell
    rise = np.concatenate([border - row0, row1 - border])
    flat = np.concatenate([floor0 * width + cell, floor1 * width + cell]).astype(np.intp)
    share = np.concatenate([share, share])
    where = np.concatenate([flat, flat + 1])
    areas = np.bincount(where, np.concatenate([rise * (1 - share), rise * share]), height * width + 1)
    cover = np.cumsum(areas[: height * width].reshape(height, width).astype(np.float32), axis=1)
    np.abs(cover, out=cover)
    rows, columns = min(high[1], GRID) - low[1], min(high[0], GRID) - low[0]
    box = (slice(int(low[1]), int(low[1] + rows)), slice(int(low[0]), int(low[0] + columns)))
    return Patch(box, np.minimum(cover[:rows, :columns], 1.0))


def inside(distance: Array, softness_mm: float = 1.2) -> Array:
    """Return the cover of a shape from its signed distance in mm (negative inside)."""
    cover = distance * np.float32(-1.0 / softness_mm)
    cover += np.float32(0.5)
    return np.clip(cover, 0.0, 1.0, out=cover)


class Tubes:
    """Round tubes along curves in space: vessels, airways, bowel, ribs.

    Args:
        paths: For each tube its (x, y, s, radius) points, joined by straight pieces.
        flatness: A tube's height along s relative to its width (ribs stand on edge).
    """

    def __init__(self, paths: Iterable[Points], *, flatness: float = 1.0) -> None:
        starts, ends = [], []
        for path in paths:
            points = np.asarray(path, np.float64) * (1.0, 1.0, 1.0 / flatness, 1.0)
            for first, last in pairwise(points):
                parts = int(np.ceil(float(np.linalg.norm(last[:3] - first[:3])) / 5.0)) or 1
                cut = first + np.linspace(0.0, 1.0, parts + 1)[:, None] * (last - first)
                starts.append(cut[:-1])
                ends.append(cut[1:])
        self._a = np.concatenate(starts).astype(np.float32)
        self._b = np.concatenate(ends).astype(np.float32)
        self._flatness = flatness
        reach = np.maximum(self._a[:, 3], self._b[:, 3])
        self._top = np.minimum(self._a[:, 2], self._b[:, 2]) - reach - 1.0
        self._bottom = np.maximum(self._a[:, 2], self._b[:, 2]) + reach + 1.0
        span = np.abs(self._b - self._a)[:, :2].max(axis=1) / 2.0
        self._half = np.ceil((reach + span + 2.0) / PIXEL_MM / 4.0).astype(int) * 4

    def distance(self, s: float) -> Array:
        """Return the signed distance to the nearest tube's surface at level s, in mm, at most FAR_MM."""
        field = np.full((GRID, GRID), FAR_MM, np.float32)
        level = np.float32(s / self._flatness)
        near = np.flatnonzero((self._top < level) & (self._bottom > level))
        for half in np.unique(self._half[near]):
            self._stamp(field, near[self._half[near] == half], level, int(half))
        return field

    def cover(self, s: float) -> Array:
        """Return the tubes' cover at level s."""
        return inside(self.distance(s))

    def _stamp(self, field: Array, which: Points, level: np.float32, half: int) -> None:
        a, b = self._a[which], self._b[which]
        centre = np.rint((a + b)[:, :2] / 2.0 / PIXEL_MM + (GRID - 1) / 2.0).astype(int)
        offsets = np.arange(-half, half + 1)
        x = ((centre[:, :1] + offsets - (GRID - 1) / 2.0) * PIXEL_MM).astype(np.float32) - a[:, :1]
        y = ((centre[:, 1:] + offsets - (GRID - 1) / 2.0) * PIXEL_MM).astype(np.float32) - a[:, 1:2]
        z = level - a[:, 2]
        d = (b - a)[:, :3]
        length = np.maximum((d * d).sum(axis=1), 1e-6)
        along_x, along_y = x * (d[:, :1] / length[:, None]), y * (d[:, 1:2] / length[:, None])
        t = along_y[:, :, None] + (along_x + (z * d[:, 2] / length)[:, None])[:, None, :]
        np.clip(t, 0.0, 1.0, out=t)
        square = (x[:, None, :] - t * d[:, 0, None, None]) ** 2
        square += (y[:, :, None] - t * d[:, 1, None, None]) ** 2
        square += (z[:, None, None] - t * d[:, 2, None, None]) ** 2
        np.sqrt(square, out=square)
        square -= a[:, 3, None, None] + t * (b - a)[:, 3, None, None]
        for k, (column, row) in enumerate(centre):
            r0, r1 = max(row - half, 0), min(row + half + 1, GRID)
            c0, c1 = max(column - half, 0), min(column + half + 1, GRID)
            if r0 < r1 and c0 < c1:
                part = field[r0:r1, c0:c1]
                r, c = r0 - row + half, c0 - column + half
                np.minimum(part, square[k, r : r + r1 - r0, c : c + c1 - c0], out=part)


def tree(root: Sequence[float], targets: Points, tip_mm: float, power: float) -> list[Any]:
    """Grow a branching vessel that reaches every target.

    The targets join in the order of their distance from the root, each by a short way.

    Args:
        root: x, y, s.
        targets: (n, 3).
        tip_mm: The radius of the last twigs.
        power: Radii grow with this power of the number of twigs that they feed.

    Returns:
        One (2, 4) path per piece, for `Tubes`.
    """
    nodes = np.vstack([np.asarray(root, np.float64), targets])
    order = np.argsort(np.linalg.norm(nodes - nodes[0], axis=1))
    nodes = nodes[order]
    travelled = np.zeros(len(nodes))
    parent = np.zeros(len(nodes), int)
    for i in range(1, len(nodes)):
        step = np.linalg.norm(nodes[:i] - nodes[i], axis=1)
        parent[i] = int(np.argmin(step**1.2 + 0.35 * (travelled[:i] + step)))
        travelled[i] = travelled[parent[i]] + step[parent[i]]
    fed = np.ones(len(nodes))
    for i in range(len(nodes) - 1, 0, -1):
        fed[parent[i]] += fed[i]
    radius = tip_mm * fed**power
    pieces = []
    for i in range(1, len(nodes)):
        start = nodes[parent[i]]
        pieces.append(np.array([[*start, min(radius[parent[i]], radius[i] * 1.3)], [*nodes[i], radius[i]]]))
    return pieces


class Texture:
    """A soft random pattern in space, about -1 to 1.

    Args:
        rng: The source of its values.
        cell_mm: The size of its lumps in x, y.
        cell_s_mm: Their size along s.
    """

    def __init__(self, rng: np.random.Generator, cell_mm: float, cell_s_mm: float) -> None:
        count = int(np.ceil(GRID * PIXEL_MM / cell_mm)) + 4
        self._cell_s = cell_s_mm
        self._lattice = rng.standard_normal((int(700.0 / cell_s_mm) + 4, count, count), dtype=np.float32)
        at = np.arange(GRID) * (PIXEL_MM / cell_mm) + 1.0
        first = np.floor(at).astype(int)
        t = at - first
        spline = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
        self._taps = [
            (first + k - 1, (weight / 6.0).astype(np.float32)[:, None]) for k, weight in enumerate(spline)
        ]

    def __call__(self, s: float) -> Array:
        """Return the pattern at level s."""
        at = (s + 50.0) / self._cell_s
        i = int(at)
        t = at - i
        t = t * t * (3.0 - 2.0 * t)
        plane = self._lattice[i] * np.float32(1.0 - t) + self._lattice[i + 1] * np.float32(t)
        return self._widened(self._widened(plane).T).T

    def _widened(self, lattice: Array) -> Array:
        """Spread a lattice's rows over the grid by cubic B-splines."""
        total = np.zeros((GRID, lattice.shape[1]), np.float32)
        for rows, weights in self._taps:
            total += weights * lattice[rows]
        return total


def ellipsoid(centre: Sequence[float], radii: Sequence[float], turn: float, s: float) -> Patch:
    """Return the cut of level s through an ellipsoid."""
    rest = 1.0 - ((s - centre[2]) / radii[2]) ** 2
    if rest <= 0.0:
        return NOTHING
    part = float(np.sqrt(rest))
    return fill(ellipse(centre, (radii[0] * part, radii[1] * part), turn))


def scatter(cover: Callable[[float], Array], levels: Points, pixels: int, rng: np.random.Generator) -> Points:
    """Return random places (n, 3) inside an organ, one per so many of its pixels at each level."""
    places = []
    between = float(levels[1] - levels[0]) / 2.0
    for s in levels:
        rows, columns = np.nonzero(cover(float(s)) > 0.9)
        chosen = rng.permutation(len(rows))[: len(rows) // pixels]
        depth = rng.uniform(-between, between, len(chosen)) + s
        places.append(np.stack([AXIS_MM[columns[chosen]], AXIS_MM[rows[chosen]], depth], axis=1))
    return np.concatenate(places)
