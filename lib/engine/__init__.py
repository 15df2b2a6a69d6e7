"""The machine that all studies share: trials to records, training, profiles, headless runs."""
