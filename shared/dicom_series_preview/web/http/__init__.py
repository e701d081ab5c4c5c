"""The HTTP API, the same behind API Gateway and on a local server."""
