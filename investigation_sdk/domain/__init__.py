"""The domain: pure, without any input or output."""
