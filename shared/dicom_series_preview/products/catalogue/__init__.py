"""The catalogue for its readers: a question comes in, a table of series goes out."""
