"""How sure are we? Intervals, calibration, operating point, reports."""
