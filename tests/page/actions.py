"""Actions of a person at the page."""

from playwright.async_api import Page, expect


async def generate(page: Page, prompt: str, seconds: float) -> None:
    """Ask for a track."""
    await page.get_by_label("Prompt", exact=True).fill(prompt)
    await page.get_by_label("Seconds", exact=True).fill(str(seconds))
    await page.get_by_role("button", name="Generate").click()


async def generate_long(page: Page, prompt: str) -> None:
    """Ask for a track of 40 s, once the page knows that the model makes such tracks."""
    await expect(page.get_by_label("Seconds")).to_have_attribute("max", "120")
    await generate(page, prompt, 40)


async def forget_tracks(page: Page) -> None:
    """Empty the page's store of tracks, so that the service alone has them."""
    await page.evaluate(
        """() => new Promise((resolve, reject) => {
            const request = indexedDB.open("musicgen");
            request.onerror = () => reject(request.error);
            request.onsuccess = () => {
                const transaction = request.result.transaction("tracks", "readwrite");
                transaction.objectStore("tracks").clear();
                transaction.oncomplete = () => { request.result.close(); resolve(); };
            };
        })"""
    )


async def make_impatient(page: Page) -> None:
    """Let the page's pauses take a tenth of their time."""
    await page.add_init_script(
        "const later = setTimeout;"
        "globalThis.setTimeout = (act, ms, ...rest) => later(act, ms / 10, ...rest);"
    )
