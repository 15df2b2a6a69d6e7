"""The look of all figures, and the charts that all studies share."""
