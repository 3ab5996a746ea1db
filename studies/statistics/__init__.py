"""Formulas over plain numbers: numpy and scipy, nothing of a study."""
