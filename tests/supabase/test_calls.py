"""Calls of the project's own API by the migration's triggers and jobs, on a real PostgreSQL."""

import psycopg
import pytest

from tests.supabase.sessions import ALICE, BOB, FILE, Connection, add, signed_in


def test_a_deleted_track_takes_its_file_along(dsn: str, admin: Connection) -> None:
    track = add(dsn, ALICE)
    admin.execute("update tracks set status = 'ready', path = %s where id = %s", [FILE, track])
    add(dsn, ALICE)
    with signed_in(dsn, ALICE) as alice:
        assert alice.execute("delete from tracks").rowcount == 2
    calls = admin.execute("select method, url, headers from net.calls").fetchall()
    assert calls == [
        {
            "method": "DELETE",
            "url": f"https://project.supabase.co/storage/v1/object/tracks/{FILE}",
            "headers": {"apikey": "sb_secret_1", "content-type": "application/json"},
        }
    ]


@pytest.mark.parametrize(
    ("status", "is_canceled"), [("queued", True), ("running", True), ("ready", False)]
)
def test_a_deleted_track_cancels_its_job(
    dsn: str, admin: Connection, status: str, is_canceled: bool
) -> None:
    add(dsn, ALICE)
    admin.execute("update tracks set status = %s, job_id = 'j1'", [status])
    add(dsn, ALICE)
    with signed_in(dsn, ALICE) as alice:
        assert alice.execute("delete from tracks").rowcount == 2
    calls = admin.execute("select method, url, headers, body from net.calls").fetchall()
    call = {
        "method": "POST",
        "url": "https://project.supabase.co/functions/v1/cancel-music",
        "headers": {"apikey": "sb_secret_1", "content-type": "application/json"},
        "body": {"job_id": "j1"},
    }
    assert calls == ([call] if is_canceled else [])


@pytest.mark.parametrize("missing", ["musicgen_project_url", "musicgen_secret_key"])
def test_a_project_without_secrets_calls_nothing(dsn: str, admin: Connection, missing: str) -> None:
    """Rows are deleted all the same, with a warning; the unsent ones are an error of pg_cron's job."""
    add(dsn, ALICE)
    admin.execute("update tracks set path = %s, job_id = 'j1'", [FILE])
    add(dsn, BOB)
    admin.execute("update tracks set created_at = now() - interval '1 hour'")
    warnings: list[str | None] = []
    admin.add_notice_handler(lambda notice: warnings.append(notice.message_primary))
    with admin.transaction(force_rollback=True):
        admin.execute("delete from vault.decrypted_secrets where name = %s", [missing])
        assert admin.execute("delete from tracks where job_id = 'j1'").rowcount == 1
        assert sorted(str(warning)[:11] for warning in warnings) == ["Vault lacks"] * 2
        assert admin.execute("select * from net.calls").fetchall() == []
        with pytest.raises(psycopg.errors.RaiseException, match=r"^Vault lacks"):
            admin.execute("select musicgen.resend_tracks()")


def test_unsent_tracks_are_sent_again(dsn: str, admin: Connection) -> None:
    """By the command that pg_cron runs, once they are older than half a minute."""
    jobs = admin.execute("select * from cron.job order by jobname").fetchall()
    assert [(job["jobname"], job["schedule"]) for job in jobs] == [
        ("musicgen-resend", "* * * * *"),
        ("musicgen-retention", "17 3 * * *"),
    ]
    track = add(dsn, ALICE)
    admin.execute(jobs[0]["command"])
    assert admin.execute("select * from net.calls").fetchall() == []
    admin.execute("update tracks set created_at = now() - interval '31 seconds'")
    admin.execute(jobs[0]["command"])
    [call] = admin.execute("select url, body from net.calls").fetchall()
    assert call == {
        "url": "https://project.supabase.co/functions/v1/generate-music",
        "body": {"resend": True},
    }
    admin.execute("update tracks set job_id = 'j' where id = %s", [track])
    admin.execute(jobs[0]["command"])
    assert len(admin.execute("select * from net.calls").fetchall()) == 1


def test_old_tracks_are_deleted(dsn: str, admin: Connection) -> None:
    old = add(dsn, ALICE)
    new = add(dsn, ALICE)
    admin.execute("update tracks set created_at = now() - interval '31 days' where id = %s", [old])
    admin.execute("select musicgen.delete_old_tracks()")
    assert [str(row["id"]) for row in admin.execute("select id from tracks")] == [new]
