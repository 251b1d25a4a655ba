"""Logging through Serve's handlers: JSON where configured, with each request's id."""

import logging
from collections.abc import Iterable

logger = logging.getLogger(__name__)


def log_with_serve() -> None:
    """Send this package's logs to Serve's handlers.

    Call it in a deployment, after Serve has set up its logs.
    """
    serve = logging.getLogger("ray.serve")
    package = logging.getLogger("serve_app")
    package.handlers = serve.handlers  # the same list, so that later changes by Serve apply to both
    package.propagate = False
    package.setLevel(serve.level)


def warn_of_user_config(names: Iterable[str]) -> None:
    """Say that Serve's `user_config`, which its schema allows, changes nothing in this application."""
    logger.warning(
        "user_config has no effect: %s. Options of a model stand beside its deployment_config, "
        "those of the application in `api`, `jobs` and so on",
        ", ".join(names),
    )
