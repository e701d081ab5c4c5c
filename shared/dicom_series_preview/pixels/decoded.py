"""One frame's stored values, from decoding to contrast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Decoded:
    """One frame's stored values.

    Attributes:
        samples: Shape (rows, columns), or (rows, columns, 3) colour by pixel; native byte order; dtype by the
            description: int or uint of 8, 16, 32 or 64 bits (uint8 for 1-bit samples), float32, float64.
        photometric_interpretation: What the samples are now: `RGB` after the codec has undone YBR_RCT or
            YBR_ICT, `YBR_FULL` after chroma was brought to full size, else as the header or the codestream
            says.
        reduction: 1, 2, 4 or 8: rows and columns are the frame's divided by this, rounded up.
        offset: Position of the frame's left and upper edge, in samples; 0 where the first sample stands for
            the frame's first `reduction` x `reduction` pixels.
        lossless: The samples are as before compression, so that one of their values can mean padding.
        is_ended: The codestream has its end marker; without it, part of the picture can be missing.
        bits: Bits of a sample in the codestream, if values need more than BitsStored, or colour has fewer;
            else 0.
        remarks: Remarks on the samples, for viewers.
    """

    samples: NDArray[Any]
    photometric_interpretation: str
    reduction: int = 1
    offset: float = 0.0
    lossless: bool = True
    is_ended: bool = True
    bits: int = 0
    remarks: tuple[str, ...] = ()
