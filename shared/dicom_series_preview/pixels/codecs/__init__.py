"""Bytes of one frame -> stored values -> colour.

`decode_frame` gives the samples as the file stores them; `to_rgb` turns those of colour and palette images
into 8-bit RGB. Grey ones go on to `contrast`. Codecs are called directly rather than through pydicom, whose
import alone costs a cold start more than a hundred milliseconds.
"""
