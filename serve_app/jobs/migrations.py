"""Migrations of the job store: plain SQL files, applied in the order of their numbers."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

from serve_app.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. name: without its ending, `0001_jobs`; sql: several statements."""

    name: str
    sql: str

    @property
    def number(self) -> int:
        return int(self.name.partition("_")[0])

    def statements(self) -> Iterator[str]:
        """Split the file at the semicolons that end a statement."""
        lines: list[str] = []
        for line in self.sql.splitlines():
            lines.append(line)
            if sqlite3.complete_statement("\n".join(lines)):
                yield "\n".join(lines)
                lines = []


def migrations_of(database: str) -> list[Migration]:
    """Read the migrations of `sqlite` or `postgres`, in their order."""
    folder = files("serve_app.jobs") / "migrations" / database
    found = (entry for entry in folder.iterdir() if entry.name.endswith(".sql"))
    migrations = [Migration(one.name.removesuffix(".sql"), one.read_text()) for one in found]
    return sorted(migrations, key=lambda migration: migration.number)


def missing(migrations: list[Migration], applied: int) -> list[Migration]:
    """Choose the migrations after number `applied`. Raises ConfigError for a newer schema."""
    newest = migrations[-1].number
    if applied > newest:
        raise ConfigError(
            f"The job store has schema {applied}, and this version of musicgen-serve knows schemas"
            f" up to {newest}: update musicgen-serve, or name another store in jobs.store."
        )
    return [migration for migration in migrations if migration.number > applied]
