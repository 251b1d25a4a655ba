"""Logging through Serve's handlers: JSON where configured, with each request's id."""

import logging


def log_with_serve() -> None:
    """Send this package's logs to Serve's handlers.

    Call it in a deployment, after Serve has set up its logs.
    """
    serve = logging.getLogger("ray.serve")
    package = logging.getLogger("serve_app")
    package.handlers = serve.handlers  # the same list, so that later changes by Serve apply to both
    package.propagate = False
    package.setLevel(serve.level)
