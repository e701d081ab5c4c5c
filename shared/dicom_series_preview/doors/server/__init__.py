"""The local HTTP server: requests come in through ASGI; the API's answers go out."""
