"""Storage: the contract that a backend author reads."""
