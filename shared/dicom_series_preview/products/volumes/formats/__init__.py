"""The files that volumes are written to and read back from."""
