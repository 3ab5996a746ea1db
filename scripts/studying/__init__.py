"""What ``finelab study`` prints and does; no torch."""
