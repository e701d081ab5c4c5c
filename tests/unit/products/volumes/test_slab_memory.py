"""The memory of slabs."""

from itertools import pairwise

import numpy as np

from dicom_series_preview.products.volumes.extents import extents_of
from dicom_series_preview.products.volumes.slabs import InTurn


def test_slabs_take_turns_in_two_arrays() -> None:
    """Each slab has its own shape and not the memory of the one before; all have two arrays."""
    memory = InTurn((4, 5), np.dtype("<i2"))
    extents = list(extents_of((1, 300, 4, 5), 2))
    found = [memory.empty(extent) for extent in extents]
    assert [data.shape for data in found] == [(*extent.shape, 4, 5) for extent in extents]
    assert len({data.ctypes.data for data in found}) == 2
    assert all(data.flags.c_contiguous for data in found)
    for one, other in pairwise(found):
        assert not np.shares_memory(one, other)
