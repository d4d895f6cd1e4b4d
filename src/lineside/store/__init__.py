"""What happened? Runs and inspections in a database."""
