"""The sample's patient: a body in Hounsfield units, slice by slice, and a scanner's noise."""

from __future__ import annotations

import numpy as np

from dicom_sample.abdomen import Abdomen
from dicom_sample.chest import Chest
from dicom_sample.muscles import BODY, draw_fat_planes, draw_neck, draw_psoas
from dicom_sample.raster import AXIS_MM, GRID, Array, Texture, ellipse, fill, inset, paint, smooth
from dicom_sample.skeleton import Skeleton, cavity
from dicom_sample.tissues import AIR_HU, FAT_HU, MUSCLE_HU
from dicom_sample.vessels import Vessels

LENGTH_MM = 600.0
_X, _Y = AXIS_MM[None, :], AXIS_MM[:, None]


class Phantom:
    """A synthetic patient, lying on the back, head first.

    Args:
        seed: The same seed gives the same patient.
    """

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 1])
        self._coarse = Texture(rng, 14.0, 16.0)
        self._fine = Texture(rng, 4.5, 7.0)
        self._chest = Chest(rng)
        self._abdomen = Abdomen(rng, self._chest.diaphragm)
        self._vessels = Vessels()
        self._skeleton = Skeleton()

    def slice(self, s: float) -> Array:
        """Return the Hounsfield units (GRID, GRID) at s mm below the scan's top, without noise."""
        image = np.full((GRID, GRID), AIR_HU, np.float32)
        coarse, fine = self._coarse(s), self._fine(s)
        _draw_table(image)
        _draw_trunk(image, s, coarse, fine)
        self._draw_inside(image, s, coarse, fine)
        self._vessels.draw_gullet(image, s)
        draw_psoas(image, s)
        self._vessels.draw_blood(image, s)
        self._vessels.draw_airways(image, s)
        self._skeleton.draw(image, s, fine)
        return _focal_spot(image)

    def _draw_inside(self, image: Array, s: float, coarse: Array, fine: Array) -> None:
        if s > 24.0:
            paint(image, fill(cavity(s)), FAT_HU + 6.0)
        if s < 312.0:
            self._chest.draw(image, s, fine)
        if s > 222.0:
            self._abdomen.draw(image, s, coarse, fine)


def scan(image: Array, s: float, rng: np.random.Generator) -> Array:
    """Return the slice with a scanner's noise.

    The noise is correlated, stronger behind more tissue, and streaky across shoulders and hips.

    Args:
        image: Hounsfield units (GRID, GRID).
        s: Its level in mm below the scan's top.
        rng: The source of the noise.
    """
    white = rng.standard_normal((GRID + 4, GRID + 4), dtype=np.float32)
    soft = white[2:-2, 2:-2] * 0.5
    soft += (white[1:-3, 2:-2] + white[3:-1, 2:-2] + white[2:-2, 1:-3] + white[2:-2, 3:-1]) * 0.42
    soft += (white[1:-3, 1:-3] + white[3:-1, 3:-1] + white[3:-1, 1:-3] + white[1:-3, 3:-1]) * 0.22
    soft -= (white[:-4, 2:-2] + white[4:, 2:-2] + white[2:-2, :-4] + white[2:-2, 4:]) * 0.16
    thick = float(np.clip((image + 1000.0).sum() / 1.05e8, 0.25, 1.6))
    falloff = np.exp(-(np.square(_X / 190.0) + np.square(_Y / 140.0)))
    noisy = image + soft * ((4.0 + 9.0 * thick * falloff).astype(np.float32))
    across = float(np.exp(-(((s - 52.0) / 26.0) ** 2)) + 0.45 * np.exp(-(((s - 565.0) / 30.0) ** 2)))
    if across > 0.02:
        lines = np.cumsum(rng.standard_normal((GRID, GRID + 64), dtype=np.float32), axis=1)
        streaks = (lines[:, 64:] - lines[:, :-64]) / 8.0
        noisy += streaks * (across * 11.0 * falloff * (image > -700.0)).astype(np.float32)
    return np.asarray(noisy, np.float32)


def _focal_spot(image: Array) -> Array:
    """Apply the scanner's unsharpness: a small binomial blur."""
    result = image.copy()
    result[1:-1] = 0.56 * image[1:-1] + 0.22 * (image[:-2] + image[2:])
    image[:] = result
    result[:, 1:-1] = 0.56 * image[:, 1:-1] + 0.22 * (image[:, :-2] + image[:, 2:])
    return result


def _draw_table(image: Array) -> None:
    """Paint the table's carbon shell around foam, and the pad on it."""
    x = np.linspace(-205.0, 205.0, 24)
    top = 125.0 - 0.0006 * np.square(x)
    bottom = 156.0 - 0.00125 * np.square(x)
    shell = smooth(np.concatenate([np.stack([x, top], axis=1), np.stack([x, bottom], axis=1)[::-1]]))
    paint(image, fill(shell), -180.0)
    paint(image, fill(inset(shell, 1.8)), -925.0)
    pad = smooth(
        np.concatenate(
            [np.stack([x * 0.92, top - 1.0], axis=1), np.stack([x * 0.92, top - 7.5], axis=1)[::-1]]
        )
    )
    paint(image, fill(pad), -840.0)


def _outline(s: float) -> tuple[Array, Array]:
    """Return the skin's closed curve at level s, and the depth of the fat below each of its points (mm)."""
    half, front, back, side_fat, front_fat, back_fat = (float(v) for v in BODY(s))
    angle = np.linspace(0.0, 2.0 * np.pi, 360, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    middle = front + 0.52 * (back - front)
    height = np.where(sin < 0, middle - front, back - middle)
    x = half * np.sign(cos) * np.abs(cos) ** 0.93
    y = middle + height * np.sign(sin) * np.abs(sin) ** 0.92
    furrow = 4.0 * float(np.clip((s - 90) / 60, 0, 1)) + 20.0 * float(np.clip((s - 528) / 60, 0, 1))
    y -= np.where(sin > 0, furrow * np.exp(-np.square(x / 10.0)), 0.0)
    fat = side_fat * cos**2 + np.where(sin < 0, front_fat, back_fat) * sin**2
    fat *= 1.0 + 0.14 * np.cos(5.0 * angle + 0.013 * s + 0.4) + 0.1 * np.sin(9.0 * angle - 0.021 * s)
    return np.stack([x, y], axis=1).astype(np.float32), fat.astype(np.float32)


def _draw_trunk(image: Array, s: float, coarse: Array, fine: Array) -> None:
    """Paint skin, fat and muscle of trunk and raised arms, with the fat between the muscles."""
    curve, fat_depth = _outline(s)
    fat = FAT_HU + 5.0 * coarse + 6.0 * fine
    muscle = MUSCLE_HU + 5.0 * coarse + 9.0 * fine
    arms = []
    if s < 66.0:
        shrink = float(np.sqrt(np.clip((66.0 - s) / 66.0, 0.0, 1.0))) ** 0.5
        arms = [
            ellipse((side * (171.0 - 0.25 * s), 10.0 + 0.1 * s), (42.0 * shrink, 48.0 * shrink))
            for side in (-1, 1)
        ]
    for outline in (curve, *arms):
        paint(image, fill(outline), 25.0)
    for outline in (curve, *arms):
        paint(image, fill(inset(outline, 1.8)), fat)
    flesh = fill(inset(curve, fat_depth))
    paint(image, flesh, muscle)
    for arm in arms:
        paint(image, fill(inset(arm, 7.0)), muscle)
    draw_fat_planes(image, s, fat, flesh.full())
    draw_neck(image, s, flesh.full())
