"""The catalogue: indices come in, one row a series with the facts of its main stack goes out."""
