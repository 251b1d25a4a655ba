"""Edge Functions in Deno, each in a process of its own, as Supabase's runtime serves them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUPABASE = Path(__file__).parent.parent.parent / "supabase"
FUNCTIONS = SUPABASE / "functions"
_LISTENING = re.compile(r"Listening on \S*?127\.0\.0\.1:(\d+)")
_DENO = str(Path(sys.executable).parent / "deno")


def config_of(function: str) -> list[str]:
    """Options of Deno that name the function's settings and hold it to its lock."""
    return ["--config", str(FUNCTIONS / function / "deno.json"), "--frozen"]


def deno(*arguments: str) -> None:
    """Run Deno in the folder `supabase`; it must succeed."""
    run = subprocess.run(
        [_DENO, *arguments], capture_output=True, text=True, cwd=SUPABASE, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


@contextmanager
def running_function(function: str, **secrets: str) -> Iterator[str]:
    """Yield the URL of a function. Its secrets are environment variables."""
    index = str(FUNCTIONS / function / "index.ts")
    command = [_DENO, "run", *config_of(function), "--allow-net", "--allow-env", index]
    environment = os.environ | secrets | {"DENO_SERVE_ADDRESS": "tcp:127.0.0.1:0"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        ports = (_LISTENING.search(line) for line in process.stderr)
        port = next((found[1] for found in ports if found), None)
        assert port is not None, "it ended"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate()
