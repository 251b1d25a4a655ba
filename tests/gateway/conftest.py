"""The fake generator behind the API, as in tests/api."""

from tests.api.conftest import client, config, generator

__all__ = ["client", "config", "generator"]
