"""`musicgen env`: the environment of `serve run`, for a shell."""

import shlex

from serve_app.cli.console import fail
from serve_app.launch.serve_process import ENVIRONMENT
from serve_app.ray_token import TokenError, find_or_create_token

_CHOSEN_BY_THE_SHELL = {"RAY_ADDRESS"}  # `serve run` joins the cluster that it names


def env() -> None:
    """Print what `serve run` and `serve status` need in their environment on this machine.

    eval "$(musicgen env)": Ray asks for its token, which is created where there is none; its ports
    are on the loopback interface; Serve's proxy has its guard.
    """
    try:
        token = find_or_create_token()
    except TokenError as error:
        fail(str(error))
    if not token.is_found_by_ray:
        fail(
            "Ray's token cannot be saved in ~/.ray/auth_token. Set RAY_AUTH_TOKEN to a secret of yours."
        )
    for name, value in (token.environment | ENVIRONMENT).items():
        if name not in _CHOSEN_BY_THE_SHELL:
            print(f"export {name}={shlex.quote(value)}")
