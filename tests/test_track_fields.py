"""The facts of a track: one table for headers, JSON, events and documentation."""

import pytest

from serve_app.api.schemas.tracks import Variation
from serve_app.marks import DIGITAL_SOURCE_TYPE
from serve_app.track_fields import (
    HEADERS,
    TrackHeaders,
    TrackReport,
    from_headers,
    header_name,
    to_headers,
)
from tests.fakes import LARGE, SMALL, TIMINGS

REPORT = TrackReport.of(SMALL, 7, 32_000, 1.5, TIMINGS)


def test_every_header_is_a_described_field() -> None:
    assert list(HEADERS) == [header_name(name) for name in TrackHeaders.model_fields]
    assert all(HEADERS.values())
    assert "x-musicgen-time-to-first-audio-s" in HEADERS


def test_headers_show_the_facts_with_their_decimals() -> None:
    assert to_headers(REPORT.model_dump()) == {
        "x-musicgen-model": "small",
        "x-musicgen-seed": "7",
        "x-musicgen-license": "CC-BY-NC-4.0",
        "x-musicgen-digital-source-type": DIGITAL_SOURCE_TYPE,
        "x-musicgen-sample-rate": "32000",
        "x-musicgen-duration-s": "1.500",
        "x-musicgen-queue-s": "0.250",
        "x-musicgen-time-to-first-audio-s": "0.500",
        "x-musicgen-generation-s": "2.004",
        "x-musicgen-real-time-factor": "0.75",
        "x-musicgen-compute-s": "1.500",
        "x-musicgen-cost-usd": "0.0005",
        "x-musicgen-resume": "approximate",
    }


def test_unknown_facts_have_no_header() -> None:
    report = TrackReport.of(LARGE, 7, 32_000, 1.5, TIMINGS)
    assert report.cost_usd is None
    assert "x-musicgen-cost-usd" not in to_headers(report.model_dump())
    assert to_headers({"model": "small", "seed": 7}) == {
        "x-musicgen-model": "small",
        "x-musicgen-seed": "7",
    }


def test_headers_are_read_back() -> None:
    headers = to_headers(REPORT.model_dump()) | {"content-type": "audio/wav"}
    assert TrackHeaders.model_validate(from_headers(headers)) == TrackHeaders.model_validate(
        REPORT.model_dump()
    )


def test_json_has_every_fact_and_names_the_models_sample_rate() -> None:
    fields = set(Variation.model_json_schema(mode="serialization")["properties"])
    facts = set(TrackReport.model_fields) - {"sample_rate"}
    assert fields == facts | {"audio", "size_bytes", "manifest", "model_sample_rate"}


@pytest.mark.parametrize(
    "license", ["CC BY \u2013 4.0", "\u77e5\u8bc6\u5171\u4eab", "MIT\n", "caf\u00e9"]
)
def test_any_text_survives_a_header(license: str) -> None:
    headers = to_headers({"license": license})
    [value] = headers.values()
    assert value.isascii()
    assert value.isprintable()
    assert from_headers(headers) == {"license": license}
