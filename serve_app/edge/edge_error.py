"""The error of an edge that cannot run."""


class EdgeError(Exception):
    """Failure to start the edge, or to keep it running. The message names the cause."""


class EdgeEnded(EdgeError):
    """HAProxy that ends again and again. The message has its status and its last output."""
