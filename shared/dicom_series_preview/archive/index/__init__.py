"""The index of a series: object headers come in; a table with a row per slice and every header goes out."""
