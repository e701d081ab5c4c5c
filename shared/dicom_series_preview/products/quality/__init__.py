"""Quality: an opened series comes in; which slices break which rules, and how its slices lie, goes out."""
