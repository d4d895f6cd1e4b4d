"""Who moves the part: the PLC at the gate, by URL scheme. Told before anything is written to a disk."""
