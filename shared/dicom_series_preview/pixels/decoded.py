"""One frame's stored values, as decoding gives them and contrast takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Decoded:
    """One frame's stored values.

    Attributes:
        samples: Shape (rows, columns), or (rows, columns, 3) colour by pixel; native byte order; dtype as the
            description says: int or uint of 8, 16, 32 or 64 bits (uint8 for 1-bit samples), float32, float64.
        photometric_interpretation: What the samples are now: `RGB` where the codec has undone YBR_RCT or
            YBR_ICT, `YBR_FULL` where chroma has been brought to full size, else as the header or the
            codestream says.
        reduction: 1, 2, 4 or 8: rows and columns are those of the frame divided by this, rounded up.
        offset: Where the frame's left and upper edge lie among the samples, in samples; 0 where the first
            sample stands for the frame's first `reduction` x `reduction` pixels.
        lossless: The samples are those that were compressed, so that one value among them may mean padding.
        is_ended: The codestream has its end marker; part of the picture may be missing where it has not.
        bits: Bits of a sample in the codestream, where values need more of them than BitsStored, or colour
            has fewer; else 0.
        remarks: What a viewer should know of the samples.
    """

    samples: NDArray[Any]
    photometric_interpretation: str
    reduction: int = 1
    offset: float = 0.0
    lossless: bool = True
    is_ended: bool = True
    bits: int = 0
    remarks: tuple[str, ...] = ()
