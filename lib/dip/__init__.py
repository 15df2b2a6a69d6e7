"""Notebook 02: encoder-decoders, trained and as Deep Image Priors."""
