"""AWS Lambda: an event comes in; its answer goes out. `handlers` builds the handler of each function."""
