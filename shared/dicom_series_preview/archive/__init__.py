"""Series and their indices: a series name comes in; the series with an up-to-date index goes out."""
