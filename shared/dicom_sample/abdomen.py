"""The sample's organs below the diaphragm, in the coordinates of `raster`."""

from __future__ import annotations

import numpy as np

from dicom_sample.raster import (
    AXIS_MM,
    NOTHING,
    Array,
    Patch,
    Points,
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
from dicom_sample.tissues import BLOOD_HU, FAT_HU, GAS_HU, LIVER_HU, MUSCLE_HU
from dicom_sample.vessels import paths

_Y = AXIS_MM[:, None]

LIVER = Profile(  # the boundary's twelve x, y corners; cut off at the abdomen's wall
    (225, 20, -125, 88, -100, 96, -62, 56, -34, 25, -10, 8, 12, -16, 24, -36, 40, -45, 110, -150, 110, -165,
     0, -120, -125),
    (266, 20, -125, 84, -100, 92, -62, 54, -34, 25, -10, 8, 10, -14, 24, -36, 40, -45, 110, -150, 110, -165,
     0, -120, -125),
    (294, 20, -125, 70, -98, 70, -64, 34, -44, 14, -24, 4, 0, -16, 14, -40, 36, -56, 110, -150, 110, -165,
     0, -120, -125),
    (320, 4, -125, 38, -98, 36, -70, 12, -56, -10, -38, -20, -14, -36, 4, -62, 24, -84, 100, -150, 100,
     -165, 0, -120, -125),
    (345, -42, -120, -27, -97, -30, -76, -44, -60, -52, -40, -56, -18, -70, 0, -90, 26, -104, 85, -150, 80,
     -165, 0, -120, -120),
    (372, -96, -120, -84, -88, -75, -74, -70, -56, -71, -38, -78, -18, -92, 6, -106, 28, -116, 60, -150, 60,
     -165, 0, -120, -110),
    (396, -112, -78, -104, -66, -101, -54, -100, -42, -101, -30, -104, -16, -108, -2, -114, 12, -122, 24,
     -140, 30, -150, -20, -130, -70),
)  # fmt: skip
SPLEEN = Profile(  # s, x, y, half axes, turn
    (256, 92, 34, 8, 12, 24), (268, 99, 30, 21, 34, 24), (295, 107, 30, 25, 44, 22),
    (322, 112, 28, 22, 40, 18),
    (345, 114, 28, 15, 26, 14), (358, 114, 28, 5, 9, 12),
)  # fmt: skip
# The large bowel's four parts, as (x, y, s, radius), and the y up to which gas fills each.
_COLON: tuple[tuple[tuple[tuple[float, float, float, float], ...], float], ...] = (
    (((-66, -22, 484, 12), (-74, -14, 468, 23), (-80, -2, 440, 24), (-86, 8, 405, 21), (-80, 2, 382, 19),
      (-74, -24, 372, 17)), -10.0),
    (((-74, -24, 372, 17), (-60, -54, 382, 17), (-30, -70, 398, 18), (5, -74, 404, 17), (45, -70, 392, 18),
      (76, -50, 360, 18), (97, -14, 328, 18)), -67.0),
    (((97, -14, 328, 18), (104, 12, 345, 15), (103, 20, 385, 14), (97, 14, 425, 13), (80, 2, 465, 13),
      (64, -20, 490, 14), (30, -22, 508, 15)), -16.0),
    (((30, -22, 508, 15), (10, 8, 504, 15), (2, 46, 514, 15), (0, 62, 540, 16), (0, 62, 562, 16),
      (0, 52, 590, 11),
      (0, 62, 620, 9)), -16.0),
)  # fmt: skip


class Abdomen:
    """Everything below the diaphragm."""

    def __init__(self, rng: np.random.Generator, dome: Array) -> None:
        self._dome = dome
        targets = scatter(self._liver_proper, np.arange(244.0, 392.0, 8.0), 900, rng)
        targets = rng.permutation(targets)
        self._portal = Tubes(tree((-34.0, -22.0, 310.0), targets[::2][:80], 1.2, 0.36))
        self._hepatic = Tubes(tree((-26.0, 2.0, 262.0), targets[1::2][:60], 1.25, 0.38))
        self._stomach = Tubes(
            paths(
                [(40, 4, 272, 8), (54, 10, 268, 24), (62, 4, 280, 33), (67, -14, 300, 34), (68, -34, 322, 31),
                 (58, -47, 344, 25), (36, -53, 362, 21), (10, -52, 370, 18), (-14, -44, 364, 14),
                 (-32, -32, 356, 11)]
            )
        )  # fmt: skip
        self._duodenum = Tubes(
            paths([(-34, -30, 356, 12), (-44, -12, 364, 12), (-44, 0, 384, 12), (-36, 4, 404, 12),
                   (-12, -8, 414, 10),
                    (14, -20, 408, 10), (30, -26, 392, 11), (34, -38, 388, 11)])
        )  # fmt: skip
        self._pancreas = Tubes(
            paths([(-30, -14, 362, 9), (-28, -20, 348, 13), (-14, -28, 340, 11), (10, -32, 332, 9),
                   (34, -20, 322, 10),
                    (62, 0, 310, 10), (84, 14, 302, 8)])
        )  # fmt: skip
        self._colon = [
            (Tubes([_haustra(smooth(path, closed=False), rng)]), gas_level) for path, gas_level in _COLON
        ]
        loops = _loops(rng)
        self._bowel = Tubes([smooth(loops, closed=False)])
        self._mesentery = Tubes(tree((1.0, -24.0, 372.0), loops[:, :3] + (0.0, 9.0, 0.0), 0.7, 0.28))

    def _liver_proper(self, s: float) -> Array:
        """Return the liver's cover at level s, cut by the abdomen's wall and the diaphragm."""
        return self.liver(s).full() * fill(inset(cavity(s), 3.0)).full() * (self._dome < s - 4.0)

    @staticmethod
    def liver(s: float) -> Patch:
        """Return the liver's outline at level s, before the abdomen's wall and the diaphragm cut it."""
        if not 228.0 < s < 404.0:
            return NOTHING
        outline = smooth(LIVER(s).reshape(-1, 2))
        if s > 394.0:
            middle = outline.mean(axis=0)
            outline = middle + (outline - middle) * np.float32(
                np.sqrt(max(1.0 - ((s - 394.0) / 10.0) ** 2, 0.0))
            )
        return fill(outline)

    def draw(self, image: Array, s: float, coarse: Array, grain: Array) -> None:
        """Paint the abdomen of level s, without the great vessels."""
        wall = cavity(s)
        below = np.clip(0.5 + (np.float32(s) - self._dome) / 5.0, 0.0, 1.0)
        space = fill(wall).full() * below
        blend(image, space, 45.0)  # the diaphragm, and the muscle that lines the wall
        space = fill(inset(wall, 2.2)).full() * np.clip(
            0.5 + (np.float32(s) - self._dome - 3.5) / 5.0, 0.0, 1.0
        )
        fat = FAT_HU + 7.0 * grain
        blend(image, space, fat)
        self._draw_bowel(image, s, space, grain)
        self._draw_upper(image, s, space, coarse, grain)
        self._draw_kidneys(image, s)
        self._draw_pelvis(image, s)

    def _draw_upper(self, image: Array, s: float, space: Array, coarse: Array, grain: Array) -> None:
        if 250.0 < s < 392.0:
            stomach: Array = self._stomach.distance(s) + coarse * 4.5
            blend(image, inside(stomach) * space, 88.0)
            lining: Array = stomach + grain * 1.2
            blend(image, inside(lining + 4.0, 2.0) * space, 24.0 + 8.0 * grain)
            level = -36.0 if s > 300 else -14.0 - 22.0 * (s - 250.0) / 50.0
            gas = inside(_Y - level, 1.5)
            blend(image, inside(stomach + 4.2) * gas * space, GAS_HU)
        if 280.0 < s < 380.0:
            lobes: Array = self._pancreas.distance(s) + np.maximum(grain * 2.2, grain * -2.2)
            blend(image, inside(lobes, 1.8), 98.0)
        first, last = SPLEEN.span
        if first < s < last:
            x, y, long, short, turn = SPLEEN(s)
            paint(image, fill(ellipse((x, y), (long, short), turn, 2.3)), 124.0, within=space)
        liver = self.liver(s)
        if liver is not NOTHING:
            tissue = np.zeros_like(image) + LIVER_HU + 3.0 * grain
            blend(tissue, inside(self._portal.distance(s)), BLOOD_HU + 4.0)
            blend(tissue, inside(self._hepatic.distance(s)), BLOOD_HU)
            paint(image, liver, tissue, within=space)
            paint(image, ellipsoid((-46, -66, 352), (17, 22, 30), 25, s), 90.0, within=space)
            paint(image, ellipsoid((-46, -66, 352), (15, 20, 28), 25, s), 9.0, within=space)

    def _draw_kidneys(self, image: Array, s: float) -> None:
        for side, middle in ((1, 350.0), (-1, 362.0)):
            u = (s - middle) / 56.0
            if abs(u) >= 1.0:
                continue
            x, y = side * (70.0 + 9.0 * u), 32.0 - 7.0 * u  # the upper poles lean to the spine
            part = float(np.sqrt(1.0 - u * u)) ** 0.8
            turn = -side * 28.0
            outline = ellipse((x, y), (25.0 * part, 31.0 * part), turn, 2.2)
            paint(image, fill(inset(outline, -4.0)), FAT_HU)
            paint(image, fill(outline), 196.0)
            angle = np.linspace(0.0, 2.0 * np.pi, len(outline), endpoint=False)
            depth = 5.5 + 2.8 * np.square(np.sin(3.5 * angle + 5.0 * u))
            if part > 0.45:
                paint(image, fill(inset(outline, depth.astype(np.float32))), 158.0)
            sinus = float(np.clip(1.0 - (u / 0.62) ** 2, 0.0, 1.0)) ** 0.5
            if sinus > 0.15:
                centre = (x - side * 11.0, y - 4.0)
                paint(image, fill(ellipse(centre, (18.0 * sinus, 10.0 * sinus), turn * 0.6)), -70.0)
                paint(image, fill(ellipse((x - side * 6.0, y - 3.0), (7.0 * sinus, 4.0 * sinus), turn)), 30.0)
        for side in (-1, 1):
            if 300.0 < s < 324.0:
                x0 = 34.0 * side
                paint(image, fill(smooth([(x0, 8), (x0 + 9 * side, 20), (x0 + 11 * side, 30),
                                          (x0 + 7 * side, 20),
                                          (x0 - 1 * side, 30), (x0 - 4 * side, 20)])), 85.0)  # fmt: skip

    def _draw_bowel(self, image: Array, s: float, space: Array, grain: Array) -> None:
        if 350.0 < s < 545.0:
            blend(image, self._mesentery.cover(s) * space, 120.0)
            loops = self._bowel.distance(s)
            blend(image, inside(loops) * space, 92.0)
            blend(image, inside(loops + 2.4, 2.0) * space, 28.0 + 14.0 * grain)
            gas = inside(loops + 5.0 + 6.0 * (grain < 0.75), 2.0)
            blend(image, gas * space * (_Y < -40.0), -700.0)
        if 340.0 < s < 420.0:
            duodenum = self._duodenum.distance(s)
            blend(image, inside(duodenum) * space, 88.0)
            blend(image, inside(duodenum + 2.8, 2.0) * space, 26.0)
        if s > 305.0:
            parts = [(tube.distance(s), level) for tube, level in self._colon]
            colon = np.minimum.reduce([distance for distance, _ in parts])
            blend(image, inside(colon) * space, 78.0)
            stool = np.where(grain > 0.5, -180.0, 34.0 + 34.0 * grain).astype(np.float32)
            blend(image, inside(colon + 2.6, 2.0) * space, stool)
            for distance, level in parts:  # gas rises to the front of each part
                rises = inside(_Y - np.float32(level), 1.5)
                blend(image, inside(distance + 3.4) * rises * space, GAS_HU)

    @staticmethod
    def _draw_pelvis(image: Array, s: float) -> None:
        if s < 505.0:
            return
        for side in (-1, 1):  # the muscles that line the small pelvis
            paint(image, ellipsoid((side * 54.0, 14.0, 562), (10, 34, 52), side * 14, s), MUSCLE_HU)
            paint(image, ellipsoid((side * 26.0, 42.0, 600), (9, 36, 34), side * 30, s), MUSCLE_HU)
        paint(image, ellipsoid((0, 12, 584), (24, 17, 24), 0, s), 74.0)
        paint(image, ellipsoid((0, 10, 560), (30, 7, 9), 0, s), 60.0)
        paint(image, ellipsoid((0, -24, 558), (40, 27, 33), 0, s), 62.0)
        paint(image, ellipsoid((0, -24, 558), (37, 24, 30), 0, s), 10.0)


def _haustra(path: Array, rng: np.random.Generator) -> Array:
    """Return a colon's path with its radius pinched at intervals."""
    walked = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path[:, :3], axis=0), axis=1))])
    pinch = 1.0 + 0.17 * np.cos(2.0 * np.pi * walked / 27.0 + rng.uniform(0, 6))
    return np.column_stack([path[:, :3], path[:, 3] * pinch]).astype(np.float32)


def _loops(rng: np.random.Generator) -> Points:
    """Return the small bowel's course, (n, 4): from place to nearest place, all over the middle abdomen."""
    low, high = np.array((-72.0, -72.0, 366.0)), np.array((84.0, 24.0, 530.0))
    places = rng.uniform(low, high, (4000, 3))
    x, y, s = places.T
    deepest = np.clip(-14.0 + 0.8 * (s - 450.0), -14.0, 24.0)
    room = (y < deepest) & (np.abs(x) < np.minimum(84.0, 84.0 - 0.5 * (s - 455.0)))
    room &= (s > 398.0) | ((x > 8.0) & (y > -48.0) & (y < -6.0))  # above, only the left side is free
    places = places[room]
    kept = places[:0]
    while len(places):
        kept = np.vstack([kept, places[:1]])
        places = places[np.linalg.norm(places - places[0], axis=1) > 23.0]
    course = [kept[int(kept[:, 2].argmin())]]
    kept = np.delete(kept, int(kept[:, 2].argmin()), axis=0)
    while len(kept):
        following = int(np.argmin(np.linalg.norm(kept - course[-1], axis=1) + 0.12 * kept[:, 2]))
        course.append(kept[following])
        kept = np.delete(kept, following, axis=0)
    return np.hstack([np.array(course), rng.uniform(9.5, 12.5, (len(course), 1))])
