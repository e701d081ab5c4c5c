"""Batches: a list of series comes in; each gets its index and mosaic, or volumes, and a summary goes out."""
