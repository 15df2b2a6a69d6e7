"""Moved to ``lib.engine.training``."""

from lib.engine.training import seeded as seeded
