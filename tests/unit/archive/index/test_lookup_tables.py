import pytest

import make_dicom as make
from indexing import index_of, only, series


def lut(entries, first, bits, data, vr="US"):
    """A lookup table's item."""
    made = make.add(make.dataset(), 0x00283002, vr, [entries, first, bits])
    return make.add(made, 0x00283006, "OW", data)


@pytest.mark.parametrize("syntax", [make.EXPLICIT, make.IMPLICIT])
def test_lookup_tables(syntax):
    """A table of 0 entries has 65536, and its first value is signed where its input is."""
    source = make.image(
        PixelRepresentation=1,
        ModalityLUTSequence=[lut(0, 65535, 16, bytes(131072))],
        VOILUTSequence=[lut(4, 65535, 8, b"abcd"), lut(2, 5, 16, b"wxyz")],
    )
    contrast = only(source, syntax).contrast
    modality = contrast.modality_lut
    assert (modality.entries, modality.first_value, modality.bits, len(modality.data)) == (
        65536,
        -1,
        16,
        131072,
    )
    # What a modality LUT puts out is unsigned.
    assert [(t.entries, t.first_value, t.data) for t in contrast.voi_luts] == [
        (4, 65535, b"abcd"),
        (2, 5, b"wxyz"),
    ]


@pytest.mark.parametrize(("signed", "first"), [(0, 65000), (1, -536)])
def test_palettes_that_vary_are_kept(signed, first):
    """Palette tables stay with every slice, also where they differ, with their first value's sign."""
    sources = []
    for number in (1, 2):
        source = make.image(number, PhotometricInterpretation="PALETTE COLOR", PixelRepresentation=signed)
        for channel in range(3):
            make.add(source, 0x00281101 + channel, "US", [2, 65000, 16])
            make.add(source, 0x00281201 + channel, "OW", bytes([number, channel, 0, 9]))
        sources.append(source)
    slices = index_of(series(*sources)).slices([0, 1])
    assert [s.pixels.palette.green.data for s in slices] == [bytes([2, 1, 0, 9]), bytes([1, 1, 0, 9])]
    assert {s.pixels.palette.red.first_value for s in slices} == {first}
    assert not slices[0].pixels.palette.segmented
