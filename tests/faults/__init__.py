"""Faults, provoked: what is killed, what is down, what is slow; nothing decided is lost, nothing is told twice."""
