"""`musicgen jobs migrate`: the tables of the job store."""

import asyncio
import json
import os
from typing import Annotated

import typer

from serve_app.cli.console import AsJson, fail
from serve_app.errors import ConfigError
from serve_app.jobs.errors import JobStoreUnavailable


def migrate(
    store: Annotated[
        str | None,
        typer.Option(
            help="sqlite:///PATH or postgresql://... Default: MUSICGEN_JOBS_STORE, else the file in"
            " the user's data folder."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create the tables of the job store, or bring them up to this version.

    The service does the same when it starts, if it may create tables.
    """
    try:
        before, now = asyncio.run(_migrate(store))
    except (ConfigError, JobStoreUnavailable) as error:
        fail(error.message, 2)
    if as_json:
        typer.echo(json.dumps({"applied_before": before, "applied_now": now}))
        return
    for name in before:
        typer.echo(f"{name}: applied before")
    for name in now:
        typer.echo(f"{name}: applied now")


async def _migrate(url: str | None) -> tuple[list[str], list[str]]:
    """Migrate the store; return the migrations that it had, and those that it got."""
    # Imported here: the other commands need none of it
    from serve_app.config.jobs import JobsConfig
    from serve_app.jobs.migrations import migrations_of
    from serve_app.jobs.stores import StoreAddress, is_store_url, store_address, store_at

    if url is not None and not is_store_url(url):
        raise ConfigError(
            "--store must be sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE."
        )
    config = JobsConfig()
    address = StoreAddress(url, named=True) if url else store_address(config, os.environ)
    opened = store_at(address)
    now = await opened.migrate()
    await opened.close()
    known = [one.name for one in migrations_of("sqlite" if address.file else "postgres")]
    return [name for name in known if name not in now], now
