"""Bodies of Replicate's clients."""

import json

from serve_app.api.errors import InvalidInput
from serve_app.api.replicate_input import parsed
from serve_app.api.schemas.replicate import PredictionBody


def prediction_body(content: bytes) -> PredictionBody:
    """Parse the body of a prediction. Raises InvalidInput."""
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("the body must be a JSON object") from error
    return parsed(PredictionBody, fields)
