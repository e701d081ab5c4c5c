"""Pixels: slices come in; decoded and display-ready pixel values go out."""
