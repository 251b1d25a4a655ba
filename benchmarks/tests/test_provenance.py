"""The benchmark measures what it names."""

from benchmarks.provenance import RATE, TAGS, samples, signer_of, signing_row, tag_row
from serve_app.audio.encoder import encode
from serve_app.audio.file_format import FLAC, WAV, Encoding


async def test_the_bytes_of_marks() -> None:
    audio = samples(0.5)
    assert audio.shape == (1, RATE // 2)
    row = tag_row(FLAC, audio, 2)
    assert len("".join(TAGS.values())) < row["mark bytes"] < 1000
    file = encode(audio, RATE, Encoding(WAV, tags=TAGS))
    signed = await signing_row(signer_of("es256"), WAV, file, 2)
    assert signed["file kB"] == round(len(file) / 1000, 1)
    assert 3000 < signed["mark bytes"] < 8000
    assert signed["mark ms"] > 0
