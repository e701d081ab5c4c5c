"""Slices come in, decoded pixels on their way to a display go out."""
