"""LoRA adapters that are merged into a model's weights."""

from pydantic import Field, FiniteFloat

from serve_app.config.closed_model import ClosedModel


class AdapterSource(ClosedModel):
    """One adapter, and the factor of its change of the weights."""

    source: str = Field(min_length=1)
    """Folder or hub id of an adapter that PEFT saved; `OWNER/REPOSITORY@REVISION` pins a
    revision."""
    weight: FiniteFloat = 1.0
    """Factor of the adapter: 1 is the adapter as trained, 0.5 half of its change."""
