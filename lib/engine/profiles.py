"""The three sizes that every notebook runs at."""

from __future__ import annotations

from typing import TypeVar

PROFILES = ("quick", "medium", "paper")
Study = TypeVar("Study")


def choose(study: dict[str, Study], profile: str) -> Study:
    """The numbers of a study's profile; ValueError for a name that is none."""
    if profile not in study:
        raise ValueError(f"profile must be one of {', '.join(study)}, not {profile!r}")
    return study[profile]
