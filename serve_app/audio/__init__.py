"""Audio files: reading, encoding and mastering. Imports neither HTTP nor torch."""
