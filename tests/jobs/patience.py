"""Time for which a test waits for what comes at once on an idle machine."""

PATIENCE_S = 60.0
