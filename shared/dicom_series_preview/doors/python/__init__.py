"""Python: a series and keyword arguments come in; a picture, an array or a table goes out."""
