"""Recording: what users put around their agents."""
