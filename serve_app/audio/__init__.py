"""PCM <-> files."""
