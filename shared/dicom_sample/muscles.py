"""The sample's tissue below the skin: the planes of fat between muscles, neck, psoas."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from dicom_sample.raster import Array, Profile, ellipse, fill, paint, ribbon, smooth
from dicom_sample.skeleton import CAVITY, SPINE
from dicom_sample.tissues import FAT_HU, MUSCLE_HU

_Line: TypeAlias = list[tuple[float, float, float]]  # x, y, half thickness in mm, on the patient's left
_Group: TypeAlias = tuple[float, float, list[_Line]]  # first and last level

BODY = Profile(  # s, half width, front and back y; fat at the sides, in front, at the back
    (-5, 60, -60, 62, 5, 4, 6), (12, 70, -60, 70, 6, 5, 7), (26, 108, -60, 86, 8, 6, 8),
    (42, 172, -64, 101, 9, 7, 9),
    (58, 194, -72, 110, 10, 8, 10), (78, 198, -84, 115, 11, 9, 10), (102, 193, -97, 117, 12, 10, 10),
    (135, 183, -109, 117, 13, 12, 9), (170, 176, -116, 117, 13, 13, 9), (210, 171, -118, 116, 13, 13, 9),
    (250, 167, -118, 114, 13, 13, 10), (300, 163, -117, 112, 14, 14, 12), (350, 160, -118, 110, 17, 18, 15),
    (390, 160, -120, 108, 19, 21, 17), (430, 165, -120, 109, 22, 23, 20), (470, 174, -117, 113, 25, 24, 22),
    (510, 182, -110, 117, 25, 24, 25), (550, 187, -101, 118, 24, 21, 25), (605, 188, -92, 117, 20, 17, 24),
)  # fmt: skip
PSOAS = Profile(  # s, x, y, half axes
    (318, 29, 38, 5, 8), (345, 34, 40, 11, 14), (380, 40, 38, 16, 18), (420, 46, 36, 20, 22),
    (460, 56, 30, 21, 22),
    (495, 68, 8, 18, 20), (530, 84, -22, 18, 16), (565, 96, -34, 19, 14), (610, 104, -26, 19, 16),
)  # fmt: skip


def draw_fat_planes(image: Array, s: float, fat: Array, flesh: Array) -> None:
    """Paint the thin layers of fat between the muscles of level s, on both sides.

    Args:
        image: Changed in place.
        s: The level.
        fat: The fat's value at each pixel.
        flesh: The cover of everything below the skin's fat; nothing is painted beyond it.
    """
    within = flesh * np.float32(0.85)
    for first, last, lines in (*_upper_planes(s), *_middle_planes(s), *_LOWER_PLANES):
        fade = float(np.clip(min(s - first, last - s) / 9.0, 0.0, 1.0))
        for line in lines if fade > 0.0 else ():
            for side in (-1, 1):
                patch = fill(ribbon(np.array(line) * (side, 1, 0.3 + 0.7 * fade)))
                paint(image, patch, fat, within=within * np.float32(fade) if fade < 1.0 else within)


def _upper_planes(s: float) -> list[_Group]:
    """Return the planes of neck, shoulders and chest."""
    _, front, back, *_ = (float(v) for v in BODY(s))
    inner = float(CAVITY(s)[0])
    wide = float(np.clip(1.0 - abs(s - 92) / 58, 0.05, 1))
    return [
        (-40, 62, [
            [(20, 32, 0.8), (32, 20, 1.6), (46, 4, 2.6), (54, -16, 1.4)],
            [(6, back - 20, 0.6), (24, back - 22, 1.1), (42, 24, 1.4), (60, 12, 1)],
            [(12, back - 34, 0.6), (26, back - 36, 1.0), (36, 26, 0.8)],
        ]),
        (40, 152, [  # the armpit, the two pectoral muscles, the deltoid
            [(100, -30, 1), (118, -12, 2 + 8 * wide), (132, 6, 2 + 12 * wide), (140, 26, 1.5 + 4 * wide)],
            [(34, front + 24, 0.8), (75, front + 31, 1.3), (104, front + 48, 1.7), (125, -18, 1.2)],
            [(60, front + 38, 0.7), (84, front + 46, 1.1), (104, front + 60, 1.2)],
            [(118, front + 36, 0.8), (142, front + 56, 1.2), (160, front + 84, 1.2), (168, 40, 1)],
        ]),
        (50, 202, [  # between shoulder blade and ribs, and over it
            [(72, 86, 0.8), (96, 74, 1.2), (114, 60, 1.3), (126, 40, 1)],
            [(30, 92, 0.8), (66, 96, 1.0), (98, 92, 1.1), (128, 74, 1.2), (148, 46, 1.1), (152, 16, 0.8)],
            [(110, 84, 0.6), (126, 76, 1.0), (140, 60, 0.8)],
        ]),
        (105, 335, [  # between the ribs' muscles and the broad muscle of the back
            [(52, 96, 0.6), (92, 84, 1), (126, 58, 1.3), (inner + 17, 12, 1.4), (inner + 13, -24, 1)],
        ]),
    ]  # fmt: skip


def _middle_planes(s: float) -> list[_Group]:
    """Return the planes of back and flanks."""
    half, front, _, side_fat, *_ = (float(v) for v in BODY(s))
    inner = float(CAVITY(s)[0])
    spine, _, depth = (float(v) for v in SPINE(s))
    behind = spine + depth
    outer, middle = (inner + share * (half - 1.1 * side_fat - inner) for share in (0.66, 0.34))
    return [
        (90, 485, [  # around the long muscles of the back
            [(9, behind + 22, 0.7), (14, behind + 32, 1), (36, behind + 31, 1), (54, behind + 24, 1.2),
             (66, behind + 12, 1.3)],
            [(15, behind + 8, 0.6), (20, behind + 20, 1.1), (22, behind + 29, 0.6)],
        ]),
        (295, 428, [  # the three flat muscles of the flank, the straight one and the midline
            [(outer - 42, -66, 0.4), (outer - 13, -40, 0.8), (outer, -4, 0.9), (outer - 9, 34, 0.7)],
            [(middle - 42, -66, 0.4), (middle - 13, -40, 0.8), (middle, -4, 0.9), (middle - 9, 34, 0.7)],
            [(64, front + 24, 1.2), (68, -84, 1.6), (70, -70, 0.8)],
            [(0.3, front + 16, 1.0), (0.3, -96, 1.4), (0.3, -84, 0.8)],
        ]),
    ]  # fmt: skip


_LOWER_PLANES: list[_Group] = [
    (414, 640, [  # the muscles of the buttock
        [(58, 98, 0.8), (98, 80, 1.5), (132, 48, 1.8), (148, 12, 1.2), (146, -16, 1)],
        [(84, 70, 0.6), (112, 46, 1.3), (130, 10, 1.4), (136, -24, 1.1)],
    ]),
    (495, 640, [  # the groin, and the sciatic nerve's bed
        [(72, -72, 4), (84, -58, 6.5), (96, -64, 4)],
        [(98, -50, 0.8), (116, -36, 1.4), (142, -26, 1.4), (156, -4, 1)],
        [(112, -64, 0.6), (126, -48, 1.2), (148, -40, 1)],
        [(54, 62, 3), (64, 64, 5), (72, 70, 3)],
    ]),
    (555, 640, [  # the muscles of the thigh
        [(16, -60, 0.7), (40, -34, 1.3), (58, -16, 1.4), (70, 2, 1)],
        [(78, -58, 1), (82, -38, 1.5), (74, -16, 1.2)],
        [(104, -66, 0.8), (110, -40, 1.3), (114, -16, 1.2)],
        [(72, 58, 0.8), (96, 48, 1.3), (122, 36, 1.2)],
    ]),
]  # fmt: skip


def draw_neck(image: Array, s: float, flesh: Array) -> None:
    """Paint the fat around the neck's vessels, the thyroid, and the muscles in front."""
    share = np.float32(np.clip((42.0 - s) / 12.0, 0.0, 1.0))
    if share == 0.0:
        return
    within = flesh * share
    bed = np.array([(8, -42), (30, -38), (50, -18), (48, 4), (30, 0), (18, -8)], float)
    lobe = float(np.sqrt(max(1.0 - ((s - 8.0) / 24.0) ** 2, 0.0)))
    for side in (-1, 1):
        paint(image, fill(smooth(bed * (side, 1))), FAT_HU, within=within)
        muscle = ellipse((side * (44.0 - 0.4 * s), -24.0 - 0.5 * s), (7.0, 17.0), side * 38.0)
        paint(image, fill(muscle), MUSCLE_HU, within=within)
        if lobe > 0.0:
            paint(
                image,
                fill(ellipse((side * 15.0, 0.4 * s - 23.0), (8.0 * lobe, 13.0 * lobe), side * 12.0)),
                150.0,
            )
    if s < 20.0:
        paint(image, fill(ellipse((0.0, 0.5 * s - 34.0), (14.0, 4.0))), 150.0)


def draw_psoas(image: Array, s: float) -> None:
    """Paint the muscles in front of the spine: the diaphragm's crura, and the psoas."""
    if 255.0 < s < 345.0:
        y, half, depth = (float(v) for v in SPINE(s))
        part = min(1.0, (345.0 - s) / 40.0, (s - 255.0) / 15.0)
        for side in (-1, 1):
            x = side * (15.0 + 0.12 * half)
            paint(
                image,
                fill(ellipse((x, y - depth * 0.95), (4.5 * part + 1, 13.0 * part), side * 24.0)),
                MUSCLE_HU + 6.0,
            )
    first, _ = PSOAS.span
    if s < first:
        return
    x, y, long, short = (float(v) for v in PSOAS(s))
    for side in (-1, 1):
        paint(image, fill(ellipse((side * x, y), (long, short), side * 20.0)), MUSCLE_HU + 4.0)
