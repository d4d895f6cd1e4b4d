"""What leaves the lab? Format, export, quantise, parity, runtime engines."""
