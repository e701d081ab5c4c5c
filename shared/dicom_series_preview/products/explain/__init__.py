"""Explanations: an index comes in; what decided its stacks, order, dimensions and windows goes out."""
