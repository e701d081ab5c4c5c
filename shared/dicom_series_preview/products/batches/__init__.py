"""Batches: a list of series comes in; each series gets its index and mosaic, and a summary goes out."""
