"""Who is told, by URL scheme."""
