"""ASGI middleware: one class per rule that holds for every request."""
