"""Base of the configuration's sections."""

from pydantic import BaseModel, ConfigDict


class ClosedModel(BaseModel):
    """Immutable section that refuses unknown options."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        protected_namespaces=(),
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # a key in the wrong option reaches no log
    )
