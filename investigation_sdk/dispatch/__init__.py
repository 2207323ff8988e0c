"""Engines that run investigations: dispatchers, each with an extra of its own."""
