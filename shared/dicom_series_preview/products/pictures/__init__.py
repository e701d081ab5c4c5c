"""A request -> a result."""
