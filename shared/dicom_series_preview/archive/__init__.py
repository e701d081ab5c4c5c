"""Series and their indices: a name comes in, an opened series with its index goes out."""
