"""Bytes -> header, or how much more is needed (PS3.5, PS3.10)."""
