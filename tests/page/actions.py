"""Actions of a person at the page."""

from playwright.async_api import Page


async def generate(page: Page, prompt: str, seconds: float) -> None:
    """Ask for a track."""
    await page.get_by_label("Prompt", exact=True).fill(prompt)
    await page.get_by_label("Seconds", exact=True).fill(str(seconds))
    await page.get_by_role("button", name="Generate").click()
