"""The client's fields are those of the API's schemas."""

from serve_app.api.schemas.generation import Generation, GenerationBody
from serve_app.api.schemas.models import Model
from serve_app.audio.file_options import FileOptions
from serve_app.client import FileFields, GenerationFields, ServedModel
from tools import client_fields

OWN_PARAMETERS = {"prompt", "audio_prompt", "melody", "n"}
FORM_OF_THE_ANSWER = {"audio_format", "stream", "stream_format"}


def test_they_are_generated_from_the_schemas() -> None:
    assert client_fields.FILE.read_text() == client_fields.source(), "run `make client`"


def test_no_field_is_missing() -> None:
    names = set(GenerationFields.__annotations__)
    assert names == Generation.model_fields.keys() - {"prompt"}
    assert names | OWN_PARAMETERS | FORM_OF_THE_ANSWER == set(GenerationBody.model_fields)
    assert set(FileFields.__annotations__) == set(FileOptions.model_fields)
    assert set(ServedModel.__annotations__) == set(Model.model_fields)
