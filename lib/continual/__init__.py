"""Notebook 01: continual learning of image tasks with masks and residual blocks."""
