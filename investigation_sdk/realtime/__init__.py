"""Live: brokers that carry hints, the tail of a log, rooms of WebSocket clients, server-sent events."""
