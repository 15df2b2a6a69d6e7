"""From estimates to verdicts, and what a notebook saves."""
