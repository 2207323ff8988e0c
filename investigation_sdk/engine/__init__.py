"""The engine: what runs underneath the recorder."""
