"""Recordings wherever they are kept, one after the other: start with `sources`."""
