"""Whole configuration files, shipped with the package and found through importlib.resources."""
