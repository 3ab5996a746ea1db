"""What people start; importing this package imports nothing heavy."""
