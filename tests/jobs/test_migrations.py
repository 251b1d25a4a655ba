"""The files of migrations."""

from serve_app.jobs.migrations import migrations_of


def test_numbers_are_consecutive_and_the_same_for_each_database() -> None:
    """Two branches may have drawn the same number."""
    sqlite = migrations_of("sqlite")
    assert [one.number for one in sqlite] == list(range(1, len(sqlite) + 1))
    assert [one.name for one in migrations_of("postgres")] == [one.name for one in sqlite]
