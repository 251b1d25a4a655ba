"""The HTTP API over the gateway. Imports neither ray nor torch."""
