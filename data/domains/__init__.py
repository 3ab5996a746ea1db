"""Data sets as small classes: a source, a template and what the names of its labels mean."""
