"""The pages of docs/clients list every field, format and field without effect of their dialect."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from serve_app.api.schemas.elevenlabs import DetailedMusic, Sound
from serve_app.api.schemas.elevenlabs_formats import NAMES
from serve_app.api.schemas.elevenlabs_plan import CompositionPlan, Section
from serve_app.api.schemas.huggingface import Options, Parameters
from serve_app.api.schemas.openai import Speech
from serve_app.api.schemas.vllm import AudioGeneration
from serve_app.config.api import DIALECTS
from tests.markdown import rows

FOLDER = Path(__file__).parent.parent.parent / "docs" / "clients"
# Parts of a plan that the page describes as negative styles, and as the name of a section.
UNNAMED = {"negative_global_styles", "negative_local_styles", "section_name", "sections"}


@pytest.mark.parametrize(
    ("page", "schemas"),
    [
        ("openai", (Speech,)),
        ("vllm", (AudioGeneration,)),
        ("elevenlabs", (DetailedMusic, Sound, CompositionPlan, Section)),
        ("huggingface", (Options, Parameters)),
    ],
)
def test_every_field_is_documented(page: str, schemas: tuple[type[BaseModel], ...]) -> None:
    text = (FOLDER / f"{page}.md").read_text()
    documented = set(re.findall(r"`([a-z0-9_]+)(?:: [^`]*)?`", text))
    fields = {name for schema in schemas for name in schema.model_json_schema()["properties"]}
    assert fields - documented - UNNAMED == set()


def test_what_has_no_effect_is_said_in_the_table() -> None:
    body = {"input": "a", "voice": "x"}
    ignored = {
        "openai": Speech.model_validate(body).ignored,
        "vllm": AudioGeneration.model_validate({"input": "a", "num_inference_steps": 5}).ignored,
    }
    for page, fields in ignored.items():
        table = rows((FOLDER / f"{page}.md").read_text())
        without_effect = [name for name, cells in table.items() if cells[0].startswith("No effect")]
        assert without_effect == fields


def test_every_format_of_elevenlabs_is_documented() -> None:
    text = (FOLDER / "elevenlabs.md").read_text()
    assert {name for name in NAMES if f"`{name}`" not in text} == set()


def test_every_page_names_its_dialect() -> None:
    for page in FOLDER.glob("*.md"):
        assert page.stem in DIALECTS
        text = page.read_text()
        assert f"`{page.stem}`" in text
        assert "`api.dialects`" in text
