"""Descriptions of a frame's pixels and their meaning: just what decoding and contrast need."""

from __future__ import annotations

from dataclasses import dataclass, field

GE_PRIVATE_BIG_ENDIAN = "1.2.840.113619.5.2"
BIG_ENDIAN_TRANSFER_SYNTAXES = frozenset(("1.2.840.10008.1.2.2", GE_PRIVATE_BIG_ENDIAN))
"""Transfer syntaxes with the most significant byte first; GE's only in its pixels."""


WINDOW_FUNCTIONS = frozenset(("LINEAR", "LINEAR_EXACT", "SIGMOID"))
"""The functions of windows (PS3.3 C.11.2.1.3)."""


@dataclass(frozen=True, slots=True)
class NativeLayout:
    """The layout of frames in a native (uncompressed) pixel data element (PS3.5 8.1.1).

    No padding lies between frames: a 1-bit frame can begin inside a byte, and any frame inside a byte-swapped
    word.

    Attributes:
        frame_bits: Bits of one frame; 4:2:2 images hold two chroma samples for every two pixels.
        unit_bits: Bits that must be read together: 16 where bytes lie swapped in big endian words.
    """

    frame_bits: int
    unit_bits: int = 8

    def span(self, number: int) -> tuple[int, int, int]:
        """Return a frame's first byte, the end of its last, and the bits before its first sample.

        Args:
            number: The frame, from 0.
        """
        first, unit = number * self.frame_bits, self.unit_bits
        start, end = first // unit, -(-(first + self.frame_bits) // unit)
        return start * unit // 8, end * unit // 8, first % unit


SHARED_CHROMA = ("YBR_FULL_422", "YBR_PARTIAL_422")


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A modality, VOI or palette lookup table (PS3.3 C.11.1, C.11.2, C.7.6.3.1.5).

    Attributes:
        entries: Number of entries, 1..65536 (a descriptor's 0 has become 65536).
        first_value: The input value that maps to entry 0; signed where the input is.
        bits: Bits of each entry as the descriptor says, 8..16.
        data: The entries' bytes as little-endian 16-bit words; 8-bit entries may be packed two a word.
        explanation: LUTExplanation (0028,3003), or empty.
    """

    entries: int
    first_value: int
    bits: int
    data: bytes = field(repr=False)
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class Palette:
    """The palette colour tables of an image (PS3.3 C.7.6.3.1.5, C.7.9).

    Attributes:
        red: Table of the red channel.
        green: Table of the green channel.
        blue: Table of the blue channel.
        segmented: The data are segmented (PS3.3 C.7.9.2), and decoding expands them.
    """

    red: LookupTable
    green: LookupTable
    blue: LookupTable
    segmented: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """One window (PS3.3 C.11.2.1.2).

    Attributes:
        center: WindowCenter (0028,1050), in modality units.
        width: WindowWidth (0028,1051), in modality units; may be <= 0 in real files.
        explanation: WindowCenterWidthExplanation (0028,1055), or empty.
    """

    center: float
    width: float
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class PixelDescription:
    """The layout of a frame's stored values (PS3.3 C.7.6.3), the same for all frames of an instance.

    Attributes:
        transfer_syntax_uid: TransferSyntaxUID (0002,0010), corrected where the object contradicts it.
        rows: Rows (0028,0010).
        columns: Columns (0028,0011).
        samples_per_pixel: 1 for grey and palette, 3 for colour.
        photometric_interpretation: PhotometricInterpretation (0028,0004), as stored.
        bits_allocated: 1, 8, 12, 16, 32 or 64.
        bits_stored: Bits of a stored value.
        high_bit: Index of the most significant bit of a stored value.
        pixel_representation: 0 unsigned, 1 two's complement.
        planar_configuration: 0 by pixel, 1 by plane.
        number_of_frames: Frames in the instance, at least 1.
        pixel_keyword: `PixelData`, `FloatPixelData` or `DoubleFloatPixelData`.
        palette: The palette tables, if any.
        pixel_vr: VR of the pixel data element, `OB` or `OW`, or empty where unknown. It matters only for
            8-bit samples in big endian, which an OW element holds swapped in pairs (PS3.5 8.1.1).
        overlay_bits: Mask of the bits of a word that hold overlay planes (PS3.5 8.1.2, retired).
        padding_words: The lowest and highest padding value, where one needs more bits than are stored, which
            C.7.5.1.1.2 forbids; else None.
    """

    transfer_syntax_uid: str
    rows: int
    columns: int
    samples_per_pixel: int = 1
    photometric_interpretation: str = "MONOCHROME2"
    bits_allocated: int = 16
    bits_stored: int = 16
    high_bit: int = 15
    pixel_representation: int = 0
    planar_configuration: int = 0
    number_of_frames: int = 1
    pixel_keyword: str = "PixelData"
    palette: Palette | None = None
    pixel_vr: str = ""
    overlay_bits: int = 0
    padding_words: tuple[int, int] | None = None

    @property
    def is_monochrome(self) -> bool:
        """True where a sample is a shade of grey."""
        return self.photometric_interpretation in ("MONOCHROME1", "MONOCHROME2")

    @property
    def has_swapped_bytes(self) -> bool:
        """True where samples share big endian words, whose bytes must be swapped before reading.

        8-bit and 1-bit samples of an OB element do not (PS3.5 8.1.1, A.3).
        """
        if self.transfer_syntax_uid not in BIG_ENDIAN_TRANSFER_SYNTAXES or self.bits_allocated % 16 == 0:
            return False
        return self.pixel_vr == "OW" or (self.bits_allocated != 8 and self.pixel_vr != "OB")

    def native_layout(self, length: int | None = None) -> NativeLayout:
        """Return the layout of its frames in a native element.

        Some writers name 4:2:2 chroma after the camera, but store three samples a pixel: the length shows it.

        Args:
            length: Bytes of the pixel data element, if known.
        """
        pixel_bits = self.rows * self.columns * self.bits_allocated
        samples = self.samples_per_pixel
        if samples == 3 and self.photometric_interpretation in SHARED_CHROMA:
            whole = -(-3 * pixel_bits * self.number_of_frames // 8)
            samples = 3 if length is not None and length in (whole, whole + whole % 2) else 2
        return NativeLayout(pixel_bits * samples, 16 if self.has_swapped_bytes else 8)


@dataclass(frozen=True, slots=True)
class Content:
    """The facts about an image that decide its display where its file names no window.

    Attributes:
        modality: Modality (0008,0060), or empty.
        image_type: The words of ImageType (0008,0008) and of the frame's FrameType (0008,9007).
        body_part: BodyPartExamined (0018,0015), else the meaning of the anatomic region's code, or empty.
        rescale_type: RescaleType (0028,1054), the unit of modality values, or empty.
        is_rescaled: The file has RescaleIntercept (0028,1052), even 0.
        stored_range: The lowest and highest value that a stored value's bits can hold; None for float pixels.
        full_fraction: MaximumFractionalValue (0062,000E) of a fractional segmentation, or None.
        is_labelmap: Stored values are labels of a LABELMAP segmentation, with or without colours.
    """

    modality: str = ""
    image_type: tuple[str, ...] = ()
    body_part: str = ""
    rescale_type: str = ""
    is_rescaled: bool = False
    stored_range: tuple[int, int] | None = None
    full_fraction: int | None = None
    is_labelmap: bool = False


@dataclass(frozen=True, slots=True)
class Contrast:
    """An instance's own rules for turning a frame's stored values into display values.

    Attributes:
        rescale_slope: RescaleSlope (0028,1053), 1 where absent.
        rescale_intercept: RescaleIntercept (0028,1052), 0 where absent.
        modality_lut: ModalityLUTSequence's table; it takes precedence over slope and intercept.
        windows: The windows in the file's order.
        voi_luts: VOILUTSequence's tables in the file's order.
        voi_lut_function: `LINEAR`, `LINEAR_EXACT` or `SIGMOID` (PS3.3 C.11.2.1.2-3).
        pixel_padding_value: PixelPaddingValue (0028,0120), or its float or double twin (0028,0122/0123) for
            float images: a stored value.
        pixel_padding_range_limit: PixelPaddingRangeLimit (0028,0121), or its float or double twin
            (0028,0124/0125): a stored value.
        presentation_lut_shape: PresentationLUTShape (2050,0020), or empty.
        content: What the image shows: decides where there is neither window nor VOI LUT.
    """

    rescale_slope: float = 1.0
    rescale_intercept: float = 0.0
    modality_lut: LookupTable | None = None
    windows: tuple[Window, ...] = ()
    voi_luts: tuple[LookupTable, ...] = ()
    voi_lut_function: str = "LINEAR"
    pixel_padding_value: float | None = None
    pixel_padding_range_limit: float | None = None
    presentation_lut_shape: str = ""
    content: Content = Content()
