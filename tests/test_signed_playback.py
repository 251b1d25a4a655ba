"""Players ignore the marks: FFmpeg and Chromium decode marked, signed and bare files to the same samples."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.async_api import Page, async_playwright

from serve_app.audio.encoder import encode
from serve_app.audio.file_format import FORMATS, Encoding
from serve_app.marks import tags_of
from serve_app.provenance.credentials import read_credentials
from serve_app.provenance.manifest import Generated
from serve_app.provenance.signer import ManifestSigner
from tests.audio.files import tone
from tests.browser import CHROMIUM, PATIENCE_MS, require_chromium
from tests.credentials import SOUND, state, stored

require_chromium()

SIGNED = [name for name, spec in FORMATS.items() if spec.holds_manifest]
TAGS = tags_of("small (facebook/musicgen-small)", "CC-BY-NC-4.0", 7, "lofi")
# Returns the length, the peak, and the number of samples in which the others differ from the first file.
DECODE = """async (texts) => {
  const decoded = await Promise.all(texts.map((text) => {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    return new OfflineAudioContext(1, 1, 32000).decodeAudioData(bytes.buffer);
  }));
  const [first, ...others] = decoded.map((buffer) => buffer.getChannelData(0));
  const differ = others.map((other) =>
    Math.abs(other.length - first.length) + first.filter((sample, at) => sample !== other[at]).length);
  return [first.length, first.reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0), ...differ];
}"""


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=PATIENCE_MS
        )
        yield await browser.new_page()
        await browser.close()


def variants(name: str, folder: Path) -> list[bytes]:
    """A file without marks, with tags, and signed."""
    spec = FORMATS[name]
    credentials = read_credentials(stored(folder), {})
    assert credentials is not None
    bare = encode(tone(2.0), 32_000, Encoding(spec))
    tagged = encode(tone(2.0), 32_000, Encoding(spec, tags=TAGS))
    definition = Generated("small", "facebook/musicgen-small", TAGS).definition()
    signing = ManifestSigner(credentials).embed(tagged, spec.media_type, definition)
    return [bare, tagged, asyncio.run(signing)]


def decoded(content: bytes) -> NDArray[np.float32]:
    with av.open(io.BytesIO(content), "r") as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return np.concatenate([frame.reshape(1, -1) for frame in frames], axis=1)


async def test_players_decode_the_same_samples(tmp_path: Path, page: Page) -> None:
    for name in SIGNED:
        bare, tagged, signed = await asyncio.to_thread(variants, name, tmp_path)
        assert state(signed, FORMATS[name].media_type) in SOUND
        expected = decoded(bare)
        assert expected.shape[1] >= 64_000
        for content in (tagged, signed):
            np.testing.assert_array_equal(decoded(content), expected)
        files = [base64.b64encode(content).decode() for content in (bare, tagged, signed)]
        length, peak, *differ = await page.evaluate(DECODE, files)
        assert length >= 64_000
        assert peak > 0.3
        assert differ == [0, 0]
