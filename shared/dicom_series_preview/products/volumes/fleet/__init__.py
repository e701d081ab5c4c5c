"""Many series: which there are, what stands beside each output, and what came of all."""
