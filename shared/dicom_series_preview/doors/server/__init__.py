"""What keeps the local server answering: who may ask, how long connections idle, and whose turn it is."""
