"""The header of NIfTI-1 and NIfTI-2, byte for byte nibabel's, without the 150 ms that loading it takes.

sform holds the affine with code 1; qform too, unless the affine is sheared, which a quaternion cannot say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NIFTI1_LONGEST = 32767
"""The most places along an axis of NIfTI-1."""
# A quaternion is given where it says the same as the affine, to less than float32 keeps of a patient.
_SAME_MM = 1e-3
_MM_AND_SECONDS = 2 | 8
_RGB24 = 128
_CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "u2": 512}
_ROWS = ("srow_x", "srow_y", "srow_z")


def _fields(number: str, *names: str) -> list[tuple[str, str]]:
    return [(name, number) for name in names]


_NIFTI1 = np.dtype(
    [
        *[("sizeof_hdr", "<i4"), ("data_type", "S10"), ("db_name", "S18"), ("extents", "<i4")],
        *[("session_error", "<i2"), ("regular", "S1"), ("dim_info", "u1"), ("dim", "<i2", 8)],
        *_fields("<f4", "intent_p1", "intent_p2", "intent_p3"),
        *_fields("<i2", "intent_code", "datatype", "bitpix", "slice_start"),
        *[("pixdim", "<f4", 8), *_fields("<f4", "vox_offset", "scl_slope", "scl_inter")],
        *[("slice_end", "<i2"), ("slice_code", "u1"), ("xyzt_units", "u1")],
        *_fields("<f4", "cal_max", "cal_min", "slice_duration", "toffset"),
        *[("glmax", "<i4"), ("glmin", "<i4"), ("descrip", "S80"), ("aux_file", "S24")],
        *[("qform_code", "<i2"), ("sform_code", "<i2")],
        *[("quatern", "<f4", 3), ("qoffset", "<f4", 3), *((name, "<f4", 4) for name in _ROWS)],
        *[("intent_name", "S16"), ("magic", "S4")],
    ]
)
_NIFTI2 = np.dtype(
    [
        *[("sizeof_hdr", "<i4"), ("magic", "S4"), ("eol_check", "u1", 4)],
        *[("datatype", "<i2"), ("bitpix", "<i2"), ("dim", "<i8", 8)],
        *[
            *_fields("<f8", "intent_p1", "intent_p2", "intent_p3"),
            ("pixdim", "<f8", 8),
            ("vox_offset", "<i8"),
        ],
        *_fields("<f8", "scl_slope", "scl_inter", "cal_max", "cal_min", "slice_duration", "toffset"),
        *[("slice_start", "<i8"), ("slice_end", "<i8"), ("descrip", "S80"), ("aux_file", "S24")],
        *[("qform_code", "<i4"), ("sform_code", "<i4")],
        *[("quatern", "<f8", 3), ("qoffset", "<f8", 3), *((name, "<f8", 4) for name in _ROWS)],
        *[*_fields("<i4", "slice_code", "xyzt_units", "intent_code"), ("intent_name", "S16")],
        *[("dim_info", "u1"), ("unused_str", "S15")],
    ]
)


def new_header(dims: Sequence[int], dtype: np.dtype[Any], *, is_rgb: bool = False) -> NDArray[Any]:
    """Return the header of an array, without a place in the patient.

    Args:
        dims: The lengths of its axes, the fastest first.
        dtype: The type of its values, little endian.
        is_rgb: Values are three of them.
    """
    is_long = max(dims) > NIFTI1_LONGEST
    header = np.zeros((), _NIFTI2 if is_long else _NIFTI1)
    header["sizeof_hdr"] = header.nbytes
    header["magic"] = b"n+2" if is_long else b"n+1"
    if is_long:
        header["eol_check"] = (13, 10, 26, 10)
    header["datatype"] = _RGB24 if is_rgb else _CODES[dtype.str[1:]]
    header["bitpix"] = dtype.itemsize * 8 * (3 if is_rgb else 1)
    header["dim"] = (len(dims), *dims, *[1] * (7 - len(dims)))
    header["pixdim"] = 1
    header["xyzt_units"] = _MM_AND_SECONDS
    # Four bytes say that no extension follows.
    header["vox_offset"] = header.nbytes + 4
    return header


def put_affine(header: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """Put the affine of indices (i, j, k), the fastest first, into a header."""
    for name, row in zip(_ROWS, affine, strict=False):
        header[name] = row
    header["sform_code"] = 1
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    rotation, handedness = _rotation(affine[:3, :3] / spacing)
    header["quatern"] = _quaternion(rotation)[1:]
    header["qoffset"] = affine[:3, 3]
    header["pixdim"][0] = handedness
    put_zooms(header, spacing.tolist())
    lengths = header["dim"][1:4].tolist()
    corners = np.array([[i, j, k] for i in (0, lengths[0]) for j in (0, lengths[1]) for k in (0, lengths[2])])
    said = _matrix(header["quatern"].astype(np.float64)) * header["pixdim"][1:4] * (1, 1, handedness)
    off = (said - affine[:3, :3]) @ corners.T + (header["qoffset"] - affine[:3, 3])[:, np.newaxis]
    header["qform_code"] = int(np.abs(off).max() <= _SAME_MM)


def put_zooms(header: NDArray[Any], zooms: Sequence[float]) -> None:
    """Put the lengths of steps along the axes into a header."""
    header["pixdim"][1 : len(zooms) + 1] = zooms


def _rotation(directions: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Return the rotation closest to three directions, and -1 where the third had to be turned around."""
    handedness = 1 if np.linalg.det(directions) > 0 else -1
    left, _, right = np.linalg.svd(directions * (1, 1, handedness))
    return left @ right, handedness


def _quaternion(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quaternion (w, x, y, z) of a rotation (Bar-Itzhack 2000), w not below 0."""
    (xx, yx, zx), (xy, yy, zy), (xz, yz, zz) = rotation.tolist()
    lower = [
        [xx - yy - zz, 0, 0, 0],
        [yx + xy, yy - xx - zz, 0, 0],
        [zx + xz, zy + yz, zz - xx - yy, 0],
        [yz - zy, zx - xz, xy - yx, xx + yy + zz],
    ]
    values, vectors = np.linalg.eigh(np.array(lower) / 3.0)
    found = vectors[[3, 0, 1, 2], np.argmax(values)]
    return -found if found[0] < 0 else found


def _matrix(imaginary: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation of a quaternion whose w the other three leave."""
    x, y, z = imaginary
    w = max(1 - float(imaginary @ imaginary), 0.0) ** 0.5
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
