"""Notebook 05: images as the weights of a layer, and training on what they become."""
