"""What compares runs: from a study file to a claim with error bars. Starts runs as child processes; needs no torch."""
