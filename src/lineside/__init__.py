"""Lineside turns a folder of images into an inspection one can trust, and runs it on the line."""

__version__ = "0.1.0"
