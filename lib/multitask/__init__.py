"""Notebook 04: one network that finds landmarks and attributes of faces."""
