"""Programs that the page shows, run without the tests' packages."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
import soundfile
from playwright.async_api import Page

DENO = str(Path(sys.executable).parent / "deno")
_ALLOWED = ("--allow-net", "--allow-read", "--allow-write", "--allow-env")


async def program(page: Page, language: str) -> str:
    await page.get_by_role("button", name=language).click()
    return await page.locator("#api-code").inner_text()


async def run_programs(page: Page, folder: Path, seconds: float, **environment: str) -> list[str]:
    """Run the programs of all languages; each writes a track of so many seconds. Return them."""
    curl, python, typescript = [
        await program(page, language) for language in ("curl", "Python", "TypeScript")
    ]
    (folder / "track.ts").write_text(typescript)
    for command in (
        ("sh", "-c", curl),
        (sys.executable, "-I", "-c", python),
        (DENO, "run", *_ALLOWED, "track.ts"),
    ):
        await _run(folder, seconds, command, environment)
    return [curl, python, typescript]


async def _run(
    folder: Path, seconds: float, command: tuple[str, ...], environment: dict[str, str]
) -> None:
    given = {"PATH": os.environ["PATH"], "HOME": str(folder), **environment}
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, env=given)
    assert await process.wait() == 0
    samples, rate = soundfile.read(folder / "track.wav")
    assert len(samples) / rate == pytest.approx(seconds, abs=0.01)
    (folder / "track.wav").unlink()
