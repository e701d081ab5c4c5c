"""The HTTP API: the path and query of a request come in; status, headers and body go out."""
