"""The local server: HTTP requests come in through ASGI, answers of the API go out."""
