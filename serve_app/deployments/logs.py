"""This package's logs go where Serve's own go: in JSON where its configuration says so, with each request's id."""

import logging


def log_with_serve() -> None:
    """To be called in a deployment's process, once Serve has set up its own logs."""
    serve, package = logging.getLogger("ray.serve"), logging.getLogger("serve_app")
    package.handlers, package.propagate = (
        serve.handlers,
        False,
    )  # the same list: what Serve changes holds for both
    package.setLevel(serve.level)
