"""The sample's bones: spine, ribs, sternum, shoulder girdle, pelvis, in the coordinates of `raster`."""

from __future__ import annotations

import numpy as np

from dicom_sample.raster import (
    Array,
    Patch,
    Points,
    Profile,
    Tubes,
    blend,
    ellipse,
    fill,
    inset,
    inside,
    paint,
    ribbon,
    smooth,
)
from dicom_sample.tissues import CORTEX_HU, MARROW_HU

# The inner side of the rib cage, and below it of the abdominal wall: s, half width, front y, back y.
CAVITY = Profile(
    (28, 22, 14, 44), (40, 48, 2, 62), (55, 74, -14, 76), (75, 97, -36, 84), (100, 113, -57, 89),
    (130, 124, -73, 91), (170, 131, -83, 92), (210, 134, -88, 92), (250, 136, -89, 91), (290, 134, -87, 88),
    (330, 132, -88, 78), (370, 130, -89, 68), (410, 124, -88, 62), (430, 112, -87, 60),
    (450, 103, -85, 62), (470, 94, -83, 66), (490, 85, -80, 72),
    (530, 64, -72, 82), (560, 52, -62, 86), (590, 42, -52, 86), (610, 36, -46, 82),
)  # fmt: skip
_ROUND_X, _ROUND_Y = 0.9, 0.93  # 1 is an ellipse, less is squarer
# The middle of the vertebral bodies: s, y, half width, half depth.
SPINE = Profile(
    (-10, 2, 14, 8), (20, 12, 14.5, 8.5), (45, 26, 15, 9.5), (75, 38, 15, 11), (110, 47, 15, 12.5),
    (160, 54, 16, 14), (210, 55, 18, 15.5), (250, 50, 20, 16.5), (300, 39, 23, 17.5), (350, 29, 24.5, 18),
    (410, 24, 26, 18.5), (440, 25, 27, 18.5), (465, 32, 28, 18), (480, 38, 28, 17),
)  # fmt: skip
_HEIGHTS = (
    17,
    19,
    19,
    20,
    20,
    21,
    21,
    22,
    22,
    23,
    24,
    25,
    26,
    28,
    32,
    33,
    34,
    34,
    33,
)  # C6 to L5, with its disc
TOPS = np.concatenate([[-8.0], -8.0 + np.cumsum(_HEIGHTS)])
FIRST_RIB = 2  # T1 in TOPS

SACRUM = Profile(  # s, y, half width, half depth
    (463, 38, 34, 16), (474, 44, 52, 20), (495, 58, 51, 20), (515, 72, 43, 16), (535, 83, 31, 11),
    (555, 89, 20, 7.5), (572, 87, 10, 5), (586, 81, 5, 3.5), (592, 78, 3, 2.5),
)  # fmt: skip
# Plates of the hip bone in axial slices: s, then x, y, half thickness of five points from back to front.
ILIUM = Profile(
    (412, 98, 26, 3, 106, 18, 4.5, 113, 8, 5, 118, -3, 5, 119, -14, 3.5),
    (424, 74, 46, 4, 94, 36, 4.5, 113, 16, 4, 124, -8, 5, 125, -28, 4),
    (445, 54, 64, 6, 76, 55, 5, 103, 28, 2.8, 120, -6, 3.8, 129, -40, 5.5),
    (470, 54, 76, 9, 70, 62, 6, 96, 33, 2.6, 111, 0, 3.4, 125, -42, 6.5),
    (495, 56, 80, 8, 66, 64, 7.5, 84, 34, 4.2, 96, 2, 4.5, 112, -34, 7),
    (512, 58, 68, 6, 68, 50, 8, 80, 27, 8, 93, 2, 8, 105, -28, 6),
    (524, 64, 58, 7, 70, 44, 10, 80, 24, 14, 88, 2, 14, 100, -24, 8),
)  # fmt: skip
# The acetabulum's wall inside and behind the femoral head, down to the ischium.
ACETABULUM = Profile(
    (522, 68, 52, 8, 72, 40, 11, 78, 24, 14, 84, 2, 13, 96, -22, 9),
    (534, 84, 46, 9, 72, 37, 9, 66, 14, 4.5, 70, -10, 6, 86, -27, 8),
    (555, 87, 45, 9, 71, 37, 9, 62, 12, 3, 65, -14, 5, 76, -28, 8),
    (572, 79, 44, 8, 70, 38, 10, 63, 20, 5, 61, -4, 4, 62, -24, 7),
    (582, 70, 44, 9, 66, 40, 11, 62, 32, 10, 60, 24, 8, 58, 18, 5),
    (610, 62, 48, 9, 60, 44, 12, 58, 38, 12, 55, 32, 9, 52, 28, 5),
)  # fmt: skip
SCAPULA = Profile(  # medial border to the neck of the glenoid
    (52, 96, 66, 1.5, 108, 58, 2, 120, 51, 4, 128, 45, 6, 133, 38, 6.5),
    (70, 88, 78, 2, 103, 71, 1.6, 117, 61, 2.2, 127, 51, 5.5, 133, 42, 8),
    (88, 84, 86, 2, 99, 79, 1.4, 113, 69, 1.6, 123, 59, 3.5, 130, 50, 6),
    (120, 86, 90, 2, 99, 84, 1.3, 111, 76, 1.3, 120, 67, 2.5, 126, 59, 4.5),
    (155, 92, 90, 2, 101, 85, 1.3, 110, 79, 1.3, 117, 72, 2.2, 121, 66, 4),
    (182, 100, 88, 2, 104, 85, 2, 107, 82, 2, 110, 79, 2.2, 113, 76, 2.5),
)  # fmt: skip


def _around(s: float, angle: Points, outward_mm: float = 0.0) -> Points:
    """Return points (n, 2) of the cavity's wall, at angles around its middle from the front to the left."""
    half, front, back = (float(v) for v in CAVITY(s))
    spine, _, depth = (float(v) for v in SPINE(s))
    middle = front + 0.54 * (back - front)
    sin, cos = np.sin(angle), -np.cos(angle)
    height = np.where(cos < 0, middle - front, back - middle) + outward_mm
    x = (half + outward_mm) * np.sign(sin) * np.abs(sin) ** _ROUND_X
    y = middle + height * np.sign(cos) * np.abs(cos) ** _ROUND_Y
    bulge = max(back - spine - 0.5 * depth, 0.0) * float(np.clip((500.0 - s) / 60.0, 0.0, 1.0))
    y -= np.where(cos > 0, bulge * np.exp(-np.square(x / 29.0)), 0.0)  # the muscles beside the spine
    return np.stack([x, y], axis=-1)


def cavity(s: float) -> Array:
    """Return the closed curve around the inside of chest and abdomen at level s."""
    return _around(s, np.linspace(0.0, 2.0 * np.pi, 240, endpoint=False)).astype(np.float32)


def _on_cage(s: float, angle_deg: float, outward_mm: float) -> tuple[float, float]:
    x, y = _around(s, np.radians(angle_deg), outward_mm)
    return float(x), float(y)


# Each rib: its bone's end in degrees from the front; how far it descends; its cartilage's end.
_RIB_ENDS = (
    (38, 26, 12), (30, 40, 10), (30, 54, 10), (30, 64, 10), (32, 72, 10), (34, 80, 11),
    (38, 86, 13), (44, 86, 22), (52, 82, 32), (62, 74, 44), (92, 50, 92), (128, 28, 128),
)  # fmt: skip
_STERNAL_S = (84, 104, 124, 144, 164, 184, 204, 218, 232, 250)


def _rib(number: int, side: int) -> tuple[Points, Points | None]:
    """Return one rib's bone, and its cartilage if it has one, as (x, y, s, radius)."""
    end_deg, drop, cartilage_deg = _RIB_ENDS[number]
    top = TOPS[FIRST_RIB + number] + 2.0
    _, y, half, depth = SPINE(top)[0], *SPINE(top)
    thick = 3.1 if number else 3.6
    points = [
        (side * (half - 1), y + 0.75 * depth, top, 3.0),
        (side * (half + 16), y + depth + 12, top + 2, 3.4),
    ]
    beside = min((half + 24.0) / (float(CAVITY(top + 3.0)[0]) + 4.2), 0.85)  # where it meets the cage
    start_deg = 180.0 - float(np.degrees(np.arcsin(beside ** (1.0 / _ROUND_X))))
    for t in np.linspace(0.0, 1.0, 34):
        angle = start_deg + t * (end_deg - start_deg)
        s = top + 3.0 + drop * (1.3 * t - 0.3 * t**3)
        x, y = _on_cage(s, angle, 4.2)
        points.append((side * x, y, s, thick + 0.5 * t**4))
    bone = np.array(points)
    if number >= len(_STERNAL_S):
        return bone, None
    last = bone[-1]
    soft = [(last[0], last[1], last[2], 4.6)]
    for t in np.linspace(0.0, 1.0, 9)[1:]:
        s = last[2] + (_STERNAL_S[number] - last[2]) * t**1.3
        x, y = _on_cage(s, end_deg + t * (cartilage_deg - end_deg), 4.5)
        soft.append((side * x, y, s, 4.6))
    return bone, np.array(soft)


class Skeleton:
    """All bones, drawn where a level meets them."""

    def __init__(self) -> None:
        ribs, cartilages = [], []
        for number in range(12):
            for side in (-1, 1):
                bone, cartilage = _rib(number, side)
                ribs.append(bone)
                if cartilage is not None:
                    cartilages.append(cartilage)
        self._ribs = Tubes(ribs, flatness=1.7)
        self._cartilages = Tubes(cartilages, flatness=1.4)
        self._arches = Tubes(_arches())
        self._limbs = Tubes(_limbs())

    def draw(self, image: Array, s: float, grain: Array) -> None:
        """Paint the bones of level s over the image.

        Args:
            image: Changed in place.
            s: The level.
            grain: The texture of spongy bone, about -1 to 1.
        """
        marrow = MARROW_HU + 70.0 * grain
        self._draw_spine(image, s, marrow)
        if s < 320.0:
            blend(image, self._cartilages.cover(s), 115.0)
            ribs = self._ribs.distance(s)
            blend(image, inside(ribs), CORTEX_HU)
            blend(image, inside(ribs + 1.6), marrow + 60.0)
        limbs = self._limbs.distance(s)
        blend(image, inside(limbs), CORTEX_HU + 120.0)
        blend(image, inside(limbs + 2.2, 1.8), marrow - 30.0)
        for curve in _plates(s):
            _shell(image, curve, marrow)

    def _draw_spine(self, image: Array, s: float, marrow: Array) -> None:
        if s > 462.0:
            self._draw_sacrum(image, s, marrow)
        if s > 474.0:
            return
        y, half, depth = (float(v) for v in SPINE(s))
        index = int(np.clip(np.searchsorted(TOPS, s, side="right") - 1, 0, len(_HEIGHTS) - 1))
        height = _HEIGHTS[index]
        disc = 4.0 + 0.11 * max(height - 18, 0) * 4.0
        into = s - TOPS[index]
        # 1 in the body, 0 in the disc; the slice's thickness blurs the plates between.
        body = float(np.clip(min(into, height - disc - into) / 4.0 + 0.5, 0.0, 1.0))
        plate = float(np.exp(-((min(into, height - disc - into) / 2.4) ** 2)))
        waist = 1.0 - 0.07 * body * np.sin(np.pi * np.clip(into / (height - disc), 0, 1))
        outline = _vertebra(y, half * waist, depth * waist)
        paint(image, fill(inset(outline, -0.8)), 95.0)
        paint(image, fill(inset(outline, 3.5)), 75.0)
        arches = self._arches.distance(s)
        blend(image, inside(arches), CORTEX_HU)
        blend(image, inside(arches + 1.9), marrow)
        shell = fill(outline)
        paint(image, Patch(shell.box, shell.cover * np.float32(body)), CORTEX_HU * 0.85)
        core = fill(inset(outline, 1.5))
        paint(image, Patch(core.box, core.cover * np.float32(body)), marrow + np.float32(260.0 * plate))
        canal = 8.2 if 60 < s < 300 else 9.6
        centre = (0.0, y + depth + 0.72 * canal)
        paint(image, fill(ellipse(centre, (canal + 1.6, canal))), -30.0)
        paint(image, fill(ellipse(centre, (canal + 0.2, canal - 1.4))), 18.0)
        if s < 318.0:
            paint(image, fill(ellipse(centre, (5.6 if s < 60 else 4.4, 4.0))), 42.0)

    def _draw_sacrum(self, image: Array, s: float, marrow: Array) -> None:
        y, half, depth = (float(v) for v in SACRUM(s))
        fade = np.float32(np.clip((s - 462.0) / 5.0, 0.0, 1.0) * np.clip((594.0 - s) / 5.0, 0.0, 1.0))
        wing = half * 0.86
        outline = smooth(
            [
                (0, y - depth * 0.72), (half * 0.45, y - depth * 0.8), (wing, y - depth * 0.35),
                (half, y + depth * 0.5), (half * 0.62, y + depth * 1.0), (0, y + depth * 1.12),
                (-half * 0.62, y + depth * 1.0), (-half, y + depth * 0.5), (-wing, y - depth * 0.35),
                (-half * 0.45, y - depth * 0.8),
            ]
        )  # fmt: skip
        for curve, value in ((outline, CORTEX_HU * 0.8), (inset(outline, 1.7), marrow - 40.0)):
            patch = fill(curve)
            paint(image, Patch(patch.box, patch.cover * fade), value)
        if s > 560.0:
            return
        paint(image, fill(ellipse((0.0, y + depth * 0.5), (half * 0.22, depth * 0.27))), 0.0)
        hole = np.float32(0.5 + 0.5 * np.cos(2.0 * np.pi * (s - 486.0) / 22.0))
        for side in (-1, 1):
            patch = fill(ellipse((side * half * 0.45, y - depth * 0.05), (half * 0.1 + 1.2, depth * 0.34)))
            paint(image, Patch(patch.box, patch.cover * hole), -20.0)


def _vertebra(y: float, half: float, depth: float) -> Array:
    """Return the outline of a vertebral body: round in front, flat and a little hollow towards the canal."""
    return smooth(
        [
            (0, y - depth), (half * 0.6, y - depth * 0.85), (half, y - depth * 0.1),
            (half * 0.86, y + depth * 0.72),
            (half * 0.42, y + depth * 0.98), (0, y + depth * 0.86), (-half * 0.42, y + depth * 0.98),
            (-half * 0.86, y + depth * 0.72), (-half, y - depth * 0.1), (-half * 0.6, y - depth * 0.85),
        ]
    )  # fmt: skip


def _arches() -> list[Points]:
    """Return the pedicles, laminae, joints, transverse and spinous processes of every vertebra."""
    paths = []
    for index, height in enumerate(_HEIGHTS):
        top = TOPS[index]
        lumbar, neck = index >= 14, index < 2
        s = top + height * 0.3
        y, half, depth = (float(v) for v in SPINE(s))
        back = y + depth + (15.0 if lumbar else 13.0)
        side_x = 13.5 if lumbar else 11.5
        joint = 4.6 if lumbar else 3.4
        tilt = height * (0.25 if lumbar else 0.75 if not neck else 0.3)
        reach = 29.0 if lumbar else 20.5
        for side in (-1, 1):
            paths.append(
                np.array(
                    [
                        (side * (half * 0.72), y + depth * 0.6, s, 4.2),
                        (side * side_x, back - 8, s, 3.6),
                        (side * (side_x + 1.5), back - 2, s + 2, joint),
                        (side * 8.0, back + 3.5, s + height * 0.35, 2.8),
                        (0.0, back + 7.0, s + height * 0.5, 2.8),
                    ]
                )
            )
            # The joints reach above and below the arch, so the column behind the canal never breaks.
            paths.append(
                np.array(
                    [
                        (side * (side_x + 2.5), back - 4, top - height * 0.18, joint * 0.8),
                        (side * (side_x + 2.0), back - 1, s + 2, joint),
                        (side * (side_x + 0.5), back + 1, top + height * 0.86, joint * 0.8),
                    ]
                )
            )
            across = half + 20.0 if lumbar else half + 15.0 if not neck else half + 8.0
            to = back + (2.0 if lumbar else 9.0 if not neck else -14.0)
            paths.append(
                np.array(
                    [
                        (side * side_x, back - 3, s + 2, 3.2),
                        (side * across, to, s + 3, 2.4 if lumbar else 3.0),
                    ]
                )
            )
        paths.append(
            np.array(
                [
                    (0.0, back + 6, s + height * 0.45, 3.0),
                    (0.0, back + reach * 0.6, s + height * 0.5 + tilt * 0.6, 2.6),
                    (0.0, back + reach, s + height * 0.55 + tilt, 3.4 if lumbar else 2.6),
                ]
            )
        )
        if lumbar:
            paths.extend(
                np.array([(0.0, back + 8, s + lower, 2.4), (0.0, back + reach, s + lower + 3, 3.2)])
                for lower in (9.0, 13.0, 17.0)
            )
    return paths


def _limbs() -> list[Points]:
    """Return collar bones, arms (raised), the spines of the shoulder blades, thighs and pubic bones."""
    both: list[Points] = []
    for path in (
        [
            (20, -50, 80, 8),
            (32, -54, 74, 6),
            (60, -50, 64, 5.2),
            (90, -34, 54, 5),
            (118, -12, 46, 5.4),
            (138, 8, 40, 6),
        ],
        [(148, 20, 64, 17), (150, 18, 53, 21.5), (154, 16, 41, 18), (162, 12, 22, 11.5), (172, 10, -30, 10)],
        [(88, 82, 84, 3), (110, 80, 70, 4), (132, 66, 52, 5), (148, 46, 36, 5.5), (146, 22, 32, 5)],
        [(134, 30, 62, 5), (126, 14, 64, 5), (124, 0, 68, 5.5)],
        [(92, 4, 553, 22.5), (93, 4, 555, 22.5)],
        [(98, 6, 558, 15), (116, 13, 572, 13), (134, 18, 584, 14.5)],
        [(144, 24, 570, 8), (142, 22, 584, 14), (138, 16, 600, 16), (134, 12, 640, 15)],
        [(68, -28, 568, 7), (44, -42, 574, 6), (20, -52, 580, 6.5), (9, -52, 588, 7.5), (10, -46, 604, 6)],
        [(14, -44, 600, 6), (30, -20, 612, 6)],
    ):
        both.extend(np.array(path, float) * (side, 1, 1, 1) for side in (-1, 1))
    return both


def _plates(s: float) -> list[Array]:
    """Return the outlines of the flat bones that level s meets: sternum, shoulder blades, hip bones."""
    curves = []
    if 72 < s < 238:
        front = float(CAVITY(s)[1])
        half, thick = (float(v) for v in _STERNUM(s))
        curves.append(ellipse((0.0, front - 7.0), (half, thick), power=3.0))
    for table, low, high in ((SCAPULA, 50, 184), (ILIUM, 410, 523), (ACETABULUM, 523, 620)):
        if low < s < high:
            points = table(s).reshape(5, 3)
            curves.extend(ribbon(points * (side, 1, 1)) for side in (-1, 1))
    return curves


_STERNUM = Profile(
    (72, 14, 4), (80, 26, 6.5), (92, 29, 7), (112, 20, 6), (122, 15, 5.5), (150, 17, 5.5), (185, 20, 5.5),
    (212, 16, 5), (224, 9, 3.5), (238, 5, 2.5),
)  # fmt: skip


def _shell(image: Array, curve: Array, marrow: Array) -> None:
    """Paint a bone with an outline: hard outside, spongy inside."""
    paint(image, fill(curve), CORTEX_HU)
    paint(image, fill(inset(curve, 1.6)), marrow)
