"""The HTTP API. Imports neither ray nor torch: whoever generates stands behind the `Generator` protocol."""
