"""HTTP without a server: a request value comes in, an answer value goes out."""
