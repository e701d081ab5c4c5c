"""Products for users: a request comes in; a result goes out. Every door calls these."""
