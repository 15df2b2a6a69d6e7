"""Networks that more than one study uses."""
