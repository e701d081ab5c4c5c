"""One page about many converted volumes: what became of each, and samples beside their source."""
