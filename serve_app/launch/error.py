"""The error that ends a launch, and the exit codes of the commands that start the service."""

CONFIGURATION = 2  # the configuration, a checkpoint that it names, or the API keys must be changed
OTHER = 1  # this machine or the start itself


class LaunchError(Exception):
    """Failure to start or run the service. The message names the remedy.

    exit_code: status with which the command ends.
    """

    def __init__(self, message: str, exit_code: int = OTHER) -> None:
        super().__init__(message)
        self.exit_code = exit_code
