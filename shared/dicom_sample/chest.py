"""The sample's lungs, heart and diaphragm, in the coordinates of `raster`."""

from __future__ import annotations

import numpy as np

from dicom_sample.raster import (
    AXIS_MM,
    NOTHING,
    Array,
    Patch,
    Profile,
    Tubes,
    blend,
    ellipse,
    ellipsoid,
    fill,
    inset,
    inside,
    paint,
    scatter,
    smooth,
    tree,
)
from dicom_sample.skeleton import cavity
from dicom_sample.tissues import BLOOD_HU

_X, _Y = AXIS_MM[None, :], AXIS_MM[:, None]

# The mediastinum without the heart, thirteen x, y corners, from the front to the left and round.
MEDIASTINUM = Profile(
    (45, -22, -60, 22, -60, 30, -25, 30, 0, 27, 20, 24, 36, 23, 46, 20, 36, -20, 36, -23, 46, -24, 30, -27,
     5, -29, -25),
    (88, -9, -95, 9, -95, 26, -42, 31, -15, 27, 10, 23, 30, 24, 46, 19, 52, -19, 52, -22, 46, -18, 28, -24,
     2, -33, -28),
    (106, -4, -105, 7, -105, 21, -58, 31, -25, 38, 5, 36, 28, 29, 50, 19, 57, -19, 57, -21, 48, -16, 30,
     -25, 2, -33, -30),
    (122, -2, -110, 5, -110, 22, -62, 32, -35, 35, -5, 33, 22, 35, 50, 20, 60, -20, 60, -21, 50, -16, 32,
     -26, 2, -35, -30),
    (140, -2, -112, 5, -112, 24, -70, 38, -40, 47, -6, 40, 20, 36, 50, 21, 63, -21, 63, -21, 52, -17, 34,
     -42, 2, -38, -30),
    (165, -4, -115, 7, -115, 30, -76, 46, -48, 48, -12, 38, 18, 36, 50, 22, 67, -22, 67, -21, 54, -15, 36,
     -40, 8, -38, -34),
    (200, -7, -115, 10, -115, 36, -80, 50, -50, 46, -15, 36, 15, 36, 50, 23, 70, -23, 70, -22, 54, -13, 36,
     -30, 18, -34, -30),
    (240, -12, -115, 16, -115, 40, -80, 48, -50, 44, -12, 36, 12, 34, 48, 24, 66, -24, 66, -23, 52, -15, 34,
     -32, 16, -34, -34),
    (320, -12, -115, 16, -115, 40, -80, 48, -50, 44, -12, 38, 8, 36, 44, 28, 52, -28, 52, -30, 48, -30, 30,
     -34, 10, -34, -34),
)  # fmt: skip
HEART = Profile(  # s, x, y, long and short half axis, turn
    (150, 2, -38, 24, 22, -20), (162, 8, -40, 38, 30, -22), (180, 15, -40, 54, 40, -27),
    (200, 20, -40, 63, 45, -30),
    (218, 24, -43, 65, 44, -30), (236, 29, -48, 61, 37, -27), (250, 34, -53, 50, 27, -22),
    (262, 38, -57, 20, 10, -20),
)  # fmt: skip
# Ellipsoids: centre x, y, s; half axes x, y, s; turn; HU.
HEART_PARTS: tuple[tuple[tuple[float, ...], tuple[float, ...], float, float], ...] = (
    ((54, -46, 212), (43, 27, 52), -38, 106.0),  # the left ventricle's wall
    ((55, -47, 210), (32, 16, 41), -38, BLOOD_HU + 4),
    ((-13, -76, 203), (15, 6, 42), -38, -50.0),  # fat in the grooves
    ((58, -12, 196), (12, 6, 22), -40, -60.0),
    ((2, -24, 190), (19, 1.8, 26), -32, 100.0),  # between the atria
    ((20, -58, 216), (3, 20, 26), 52, 120.0),
)


def diaphragm() -> Array:
    """Return the level of the diaphragm, between chest and abdomen, for each pixel (mm)."""

    def dome(x: float, y: float, top: float, rise: tuple[float, float, float]) -> Array:
        side, front, back = rise
        across = np.square((_X - x) / 70.0)
        along = np.where(y > _Y, np.square((_Y - y) / 80.0) * front, np.square((_Y - y) / 105.0) * back)
        return np.asarray(top + side * across + along, np.float32)

    right, left = dome(-70, -14, 233, (56, 26, 78)), dome(72, -14, 245, (54, 24, 72))
    middle = dome(0, -40, 262, (30, 10, 90))
    k = np.float32(9.0)
    total = np.exp(-right / k + 26) + np.exp(-left / k + 26) + np.exp(-middle / k + 26)
    return np.asarray(-k * (np.log(total) - 26), np.float32)


class Chest:
    """Lungs and mediastinum."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.diaphragm = diaphragm()
        points = scatter(self.lungs, np.arange(36.0, 306.0, 6.0), 210, rng)
        right, left = points[points[:, 0] < 0], points[points[:, 0] > 0]
        pieces = tree((-46.0, 2.0, 158.0), right, 0.62, 0.42)
        pieces += tree((48.0, 8.0, 156.0), left, 0.62, 0.42)
        self._vessels = Tubes(pieces)

    def lungs(self, s: float) -> Array:
        """Return the lungs' cover at level s."""
        lungs = fill(inset(cavity(s), 1.0)).full()
        lungs *= 1.0 - fill(smooth(MEDIASTINUM(s).reshape(-1, 2))).full()
        heart = self.heart(s, 3.0)
        lungs[heart.box] *= 1.0 - heart.cover
        lungs = _rounded(lungs)
        lungs *= np.clip(0.5 + (self.diaphragm - np.float32(s)) / 5.0, 0.0, 1.0)
        return lungs * np.float32(np.clip((s - 29.0) / 10.0, 0.0, 1.0))

    @staticmethod
    def heart(s: float, margin_mm: float = 0.0) -> Patch:
        """Return the heart's cover at level s."""
        first, last = HEART.span
        if not first < s < last:
            return NOTHING
        x, y, long, short, turn = HEART(s)
        return fill(ellipse((x, y), (long + margin_mm, short + margin_mm), turn, 2.2))

    def draw(self, image: Array, s: float, grain: Array) -> None:
        """Paint the chest of level s, without airways and great vessels."""
        lungs = self.lungs(s)
        depth = np.clip((_Y + 80.0) / 170.0, 0.0, 1.0)
        parenchyma = (-885.0 + 75.0 * depth * depth + 16.0 * grain).astype(np.float32)
        blend(image, lungs, parenchyma)
        vessels = self._vessels.distance(s)
        blend(image, inside(vessels, 1.6) * lungs, 20.0)
        heart = self.heart(s)
        paint(image, self.heart(s, 1.6), -60.0)
        paint(image, heart, 108.0)
        if heart is NOTHING:
            return
        paint(image, self.heart(s, -3.2), BLOOD_HU - 6.0)
        within = self.heart(s, -0.5).full()
        for centre, radii, turn, value in HEART_PARTS:
            paint(image, ellipsoid(centre, radii, turn, s), value, within=within)


def _rounded(cover: Array) -> Array:
    """Round a cover's sharp corners: blur it over eight pixels each way, and cut again."""
    blurred = cover.copy()
    for step in (1, 2, 4):
        ahead = step < 4  # one and two look ahead, four behind: the blur stays where it is
        for view in (blurred, blurred.T):
            copy = view.copy()
            if ahead:
                view[:-step] += copy[step:]
            else:
                view[step:] += copy[:-step]
    return np.asarray(np.clip((blurred / 64.0 - 0.46) * 6.0 + 0.5, 0.0, 1.0), np.float32)
