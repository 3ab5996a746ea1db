"""What every package may import: names, shapes and schemas. Imports neither torch nor lightning."""
