"""What users ask for: a request comes in, a result goes out. Every door calls these."""
