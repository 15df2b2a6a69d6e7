"""Notebook 03: choosing a source model for fine-tuning by its scores."""
