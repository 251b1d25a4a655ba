"""The error of an edge that cannot run."""


class EdgeError(Exception):
    """Failure to start the edge, or to keep it running. The message names the cause."""
