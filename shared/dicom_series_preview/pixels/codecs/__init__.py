"""Codecs: one frame's bytes come in; stored values, and 8-bit RGB for colour images, go out."""
