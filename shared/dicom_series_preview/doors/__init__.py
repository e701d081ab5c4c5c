"""Command line, Python, local server, Lambda: what comes in becomes a request, its result what goes out."""
