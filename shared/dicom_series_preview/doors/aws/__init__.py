"""Lambda: an event comes in, an answer goes out. `handlers` makes the handler of each function."""
