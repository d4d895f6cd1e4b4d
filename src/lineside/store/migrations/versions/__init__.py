"""One file a version, in order: what changes in the tables, and with what is there."""
