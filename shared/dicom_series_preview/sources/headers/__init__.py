"""Headers: an object's first bytes come in; the parsed header goes out, or how many more bytes it needs."""
