"""What the stores that speak SQL are made of."""
