"""Requests in, audio out: continuous batching. Knows nothing of HTTP or Ray."""
