"""The parts of :mod:`investigation_backends.mongo`."""
