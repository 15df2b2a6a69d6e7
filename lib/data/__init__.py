"""Readers of data sets, and what is drawn where a data set would be needed."""
