"""The web page in real Chromium, over the API without Ray and without weights."""
