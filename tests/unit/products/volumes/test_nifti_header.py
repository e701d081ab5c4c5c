"""The header of NIfTI is nibabel's, byte for byte."""

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from numpy.typing import NDArray

from dicom_series_preview.products.volumes.formats.nifti_header import new_header, put_affine, put_zooms

SHORT, LONG = (60, 50, 40), (40_000, 5, 4)
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
SHEAR = np.array([[1, 0, 0.0], [0, 1, 0.3], [0, 0, 1]])


def of_nibabel(dims: tuple[int, ...], dtype: np.dtype) -> Nifti1Header:
    header = (Nifti2Header if max(dims) > 32767 else Nifti1Header)()
    header.set_data_dtype(dtype)
    header.set_data_shape(dims)
    header.set_xyzt_units("mm", "sec")
    header["vox_offset"] = len(header.binaryblock) + 4
    header["scl_slope"], header["scl_inter"] = 0, 0
    return header


def affines() -> list[NDArray[np.float64]]:
    """Return right-handed and left-handed affines, of the patient's axes and of any others."""
    rng = np.random.default_rng(1)
    bases = [np.eye(3), np.diag([-1.0, -1, 1]), np.diag([-1.0, 1, 1]), np.eye(3)[[2, 0, 1]], -np.eye(3)]
    bases += [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(20)]
    found = []
    for base in bases:
        affine = np.eye(4)
        affine[:3, :3] = base * rng.uniform(0.2, 5, 3)
        affine[:3, 3] = rng.uniform(-500, 500, 3)
        found.append(affine)
    return found


@pytest.mark.parametrize("dims", [SHORT, LONG, (*SHORT, 7)], ids=["NIfTI-1", "NIfTI-2", "4D"])
@pytest.mark.parametrize("is_sheared", [False, True], ids=["straight", "sheared"])
def test_affine_is_written_as_nibabel_writes_it(dims: tuple[int, ...], *, is_sheared: bool) -> None:
    """Of any affine, sform and qform have nibabel's bytes; of a sheared one, qform has code 0."""
    for affine in affines():
        if is_sheared:
            affine[:3, :3] = SHEAR @ affine[:3, :3]
        theirs = of_nibabel(dims, np.dtype("<i2"))
        theirs.set_sform(affine, 1)
        theirs.set_qform(affine, 0 if is_sheared else 1, strip_shears=True)
        theirs.set_zooms([*np.linalg.norm(affine[:3, :3], axis=0), *dims[3:]])
        ours = new_header(dims, np.dtype("<i2"))
        put_affine(ours, affine)
        ours["pixdim"][4 : len(dims) + 1] = dims[3:]
        assert ours.tobytes() == theirs.binaryblock


@pytest.mark.parametrize("code", ["u1", "<i2", "<u2", "<i4", "<f4", "RGB"])
def test_type_is_written_as_nibabel_writes_it(code: str) -> None:
    """Each type of values, and a place that is not known, have nibabel's bytes."""
    dtype = RGB if code == "RGB" else np.dtype(code)
    theirs = of_nibabel((30, 20, 1), dtype)
    theirs.set_zooms([0.5, 0.25, 1.0])
    ours = new_header((30, 20, 1), np.dtype("u1") if code == "RGB" else dtype, is_rgb=code == "RGB")
    put_zooms(ours, [0.5, 0.25, 1.0])
    assert ours.tobytes() == theirs.binaryblock
