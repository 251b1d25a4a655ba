"""Bodies of the v1 API."""
