"""Where cells run: one protocol, the same results on each."""
