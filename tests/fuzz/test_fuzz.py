"""A short, repeatable part of what `make fuzz` does at length."""

import struct
import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import make_dicom as make
from dicom_series_preview.base.errors import DecodeError, HeaderError
from dicom_series_preview.base.image import PixelDescription
from dicom_series_preview.pixels.codecs.frame import decode_frame
from dicom_series_preview.sources.headers.convert import Converter
from dicom_series_preview.sources.headers.header import parse
from dicom_series_preview.sources.headers.scan import data_set_of
from fuzz.mutations import INTERESTING, KINDS, Change, mutated
from fuzz.targets import (
    ROOT,
    check_after,
    check_codestream,
    check_description,
    check_header,
    codestreams,
    headers,
    real_headers,
)

HEADERS, CODESTREAMS = headers(), codestreams()
CHANGES = st.lists(
    st.builds(
        Change,
        kind=st.sampled_from(KINDS),
        at=st.integers(0, 1 << 20),
        value=st.sampled_from(INTERESTING) | st.binary(min_size=1, max_size=4),
        count=st.integers(1, 64),
        near_start=st.booleans(),
    ),
    max_size=5,
)
REPEATABLE = settings(derandomize=True, deadline=None, database=None, max_examples=40)


@pytest.mark.parametrize("name", HEADERS)
@given(changes=CHANGES, first=st.sampled_from((0, 132, 400, 5120)))
@REPEATABLE
def test_changed_headers_are_read_or_refused(name, changes, first):
    """Whatever bytes a header has, it is read or refused by name, in bounded steps and memory."""
    check_header(mutated(HEADERS[name], changes), first)


@pytest.mark.parametrize("name", HEADERS)
@given(several=st.lists(CHANGES, min_size=2, max_size=6))
@REPEATABLE
def test_changed_headers_are_alike_behind_others(name, several):
    """What earlier headers of a series were like, or were made to be like, changes nothing in a header."""
    converter = Converter()
    for changes in ([], [], *several, []):
        check_after(mutated(HEADERS[name], changes), converter)


@pytest.mark.real_data
def test_changed_real_headers_are_alike_behind_others(real_data):
    """The same for real headers, of other kinds among each other."""
    names = sorted(real := real_headers(real_data))

    @given(
        several=st.lists(st.tuples(st.sampled_from(names), CHANGES), min_size=2, max_size=4),
        name=st.sampled_from(names),
    )
    @settings(REPEATABLE, max_examples=60)
    def check(several, name):
        converter = Converter()
        for other, changes in ((name, []), (name, []), *several, (name, several[0][1])):
            check_after(mutated(real[other][:16384], changes), converter)

    check()


@pytest.mark.real_data
def test_changed_real_headers_are_read_or_refused(real_data):
    """The same for real headers."""
    names = sorted(real := real_headers(real_data))

    @given(name=st.sampled_from(names), changes=CHANGES, first=st.sampled_from((132, 5120)))
    @settings(REPEATABLE, max_examples=150)
    def check(name, changes, first):
        check_header(mutated(real[name][:16384], changes), first)

    check()


@pytest.mark.parametrize("name", CODESTREAMS)
@given(changes=CHANGES, reduction=st.sampled_from((1, 1, 2, 4, 8)))
@REPEATABLE
def test_changed_codestreams_are_decoded_or_refused(name, changes, reduction):
    """Whatever bytes a frame has, it becomes samples as described or a DecodeError."""
    check_codestream(CODESTREAMS[name], mutated(CODESTREAMS[name].data, changes), reduction)


@pytest.mark.parametrize("name", CODESTREAMS)
@given(
    changes=st.fixed_dictionaries(
        {},
        optional={
            "rows": st.integers(0, 60),
            "columns": st.integers(0, 60),
            "samples_per_pixel": st.sampled_from((0, 1, 2, 3, 4)),
            "bits_allocated": st.sampled_from((0, 1, 8, 12, 16, 24, 32, 64)),
            "bits_stored": st.integers(0, 40),
            "high_bit": st.integers(-1, 40),
            "pixel_representation": st.sampled_from((0, 1)),
            "planar_configuration": st.sampled_from((0, 1)),
            "photometric_interpretation": st.sampled_from(
                ("MONOCHROME1", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "HSV", "")
            ),
        },
    )
)
@REPEATABLE
def test_frames_under_another_description_are_decoded_or_refused(name, changes):
    """A header that describes another frame than there is gives a DecodeError, or samples as it describes."""
    check_description(CODESTREAMS[name], **changes)


def _with_size(name: str, rows: int, columns: int) -> bytes:
    """A codestream that declares another size."""
    data = bytearray(CODESTREAMS[name].data)
    if name.startswith(("jpeg 2000", "htj2k")):
        at = data.index(b"\xff\x51")
        struct.pack_into(">II", data, at + 6, columns, rows)
        struct.pack_into(">II", data, at + 22, columns, rows)
        return bytes(data)
    markers = [bytes((0xFF, kind)) for kind in (0xC0, 0xC1, 0xC2, 0xC3, 0xF7)]
    at = min(found for marker in markers if (found := data.find(marker)) >= 0)
    struct.pack_into(">HH", data, at + 5, rows, columns)
    return bytes(data)


@pytest.mark.parametrize(
    "name", [name for name in CODESTREAMS if name.startswith(("jpeg", "htj2k")) and "xl" not in name]
)
@pytest.mark.parametrize("reduction", [1, 8])
def test_codestreams_that_swell_are_refused_before_they_are_decoded(name, reduction):
    """A codestream that declares more pixels than its header is refused by its own declaration."""
    side = 60000
    with pytest.raises(DecodeError, match=f"the codestream is {side} x {side}"):
        decode_frame(_with_size(name, side, side), CODESTREAMS[name].pixels, reduction=reduction)


def test_jpeg_xl_that_swells_is_refused_before_it_is_decoded():
    """The same for JPEG XL, whose size is a few bits: here 2^30 rows and columns."""
    bits = 0 | 3 << 1 | (2**30 - 1) << 3 | 1 << 33
    data = b"\xff\x0a" + bits.to_bytes(8, "little") + bytes(64)
    with pytest.raises(DecodeError, match=f"the codestream is {2**30} x {2**30}"):
        decode_frame(data, CODESTREAMS["jpeg xl"].pixels)


def test_headers_that_agree_with_a_bomb_are_refused_by_the_limit():
    """A header as large as its codestream's claim is refused by the limit, before anything is allocated."""
    for name in ("jpeg", "jpeg 2000", "jpeg-ls", "rle", "native", "deflated frame"):
        codestream = CODESTREAMS[name]
        large = replace(codestream.pixels, rows=60000, columns=60000)
        with pytest.raises(DecodeError, match="more than the limit"):
            decode_frame(codestream.data, large, reduction=8)


def _deflated(data_set: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return make.preamble(make.DEFLATED) + stream.compress(data_set) + stream.flush()


def test_deflated_objects_that_swell_are_read_in_bounded_memory():
    """A deflated object a thousand times its size costs memory for its header, and for the part asked for."""
    size = 64 * 2**20
    data = _deflated(
        make.without_meta(make.encode(make.image(Rows=4096, Columns=8192, PixelData=bytes(size))))
    )
    tracemalloc.start()
    try:
        header = parse(data, len(data), Converter())
        assert header.pixels.length == size
        assert data_set_of(data, header.pixels.offset, header.pixels.offset + 10) == bytes(10)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 16 * 2**20


def test_deflated_headers_that_swell_are_refused():
    """A deflated header that is longer than any header may be is refused."""
    private = make.element(0x00090010, "LO", b"FUZZ") + make.element(0x00091000, "OB", bytes(65 * 2**20))
    data = _deflated(make.element(0x00080016, "UI", b"1.2\0") + private)
    with pytest.raises(HeaderError, match="header inflates to more than"):
        parse(data, len(data), Converter())


def test_deflated_frames_that_swell_stop_where_the_frame_ends():
    """Of a deflated frame no more is inflated than the header describes."""
    stream = zlib.compressobj(wbits=-15)
    data = stream.compress(bytes(40 * 2**20)) + stream.flush()
    tracemalloc.start()
    try:
        decoded = decode_frame(data, PixelDescription(f"{ROOT}.8.1", 16, 16))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.array_equal(decoded.samples, np.zeros((16, 16)))
    assert peak <= 2 * 2**20
