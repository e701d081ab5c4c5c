"""Batches: a list of series comes in; each gets its index and its mosaic, and a summary goes out."""
