"""Scenes, shapes and faces that are drawn, the same on every machine."""
