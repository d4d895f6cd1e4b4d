"""Where parts come from, by URL scheme."""
