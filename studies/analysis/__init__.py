"""From finished cells to what may be said about them."""
