"""How people use Lineside from a shell: one file a verb, no logic."""
