"""Pictures for TensorBoard; matplotlib is imported only where one is drawn."""
