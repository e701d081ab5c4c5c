"""Doors to the product: a command, a Python call or an HTTP or AWS event comes in; its answer goes out."""
