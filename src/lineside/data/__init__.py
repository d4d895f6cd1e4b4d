"""What do we have? Readers, the check-up, splits, the built-in nuts."""
