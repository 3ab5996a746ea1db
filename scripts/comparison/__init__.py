"""What ``finelab compare`` makes of runs: read without torch."""
