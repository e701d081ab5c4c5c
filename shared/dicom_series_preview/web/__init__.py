"""HTTP without a server: a parsed HTTP request comes in; an HTTP response goes out."""
