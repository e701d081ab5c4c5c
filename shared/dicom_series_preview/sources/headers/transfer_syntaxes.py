"""The transfer syntaxes that decide how a data set itself is written (PS3.5 Annex A)."""

from __future__ import annotations

from dicom_series_preview.base.image import GE_PRIVATE_BIG_ENDIAN

IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
UNCOMPRESSED = frozenset((IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN))
# With these the pixels are native: not encapsulated in fragments (PS3.5 A.1-A.3, A.5).
NATIVE_TRANSFER_SYNTAXES = UNCOMPRESSED | {DEFLATED_LITTLE_ENDIAN, GE_PRIVATE_BIG_ENDIAN}
