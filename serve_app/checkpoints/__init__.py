"""Checkpoint files to modules: foreign formats and names end here."""
