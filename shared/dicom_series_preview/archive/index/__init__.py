"""The index of a series: one row a slice, and every header in it."""
