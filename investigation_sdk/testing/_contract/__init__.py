"""The parts of :mod:`investigation_sdk.testing.contract`."""
