"""Measurements, run side by side with what a user would use instead; each writes benchmarks/results/<name>.json."""
