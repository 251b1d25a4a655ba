"""Names and versions of the served models as Replicate's clients write them."""

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from serve_app.api.errors import InvalidInput
from serve_app.api.openapi import schema_of
from serve_app.api.schemas.replicate import HostedModel, ModelVersion, MusicGenInput
from serve_app.errors import ModelNotFound
from serve_app.gateway.routing import ModelRouter
from serve_app.model_status import ModelCard

MUSICGEN = "meta/musicgen"
_OWNER = "musicgen-serve"  # of models whose source has none
# The published versions of meta/musicgen, which programs name: each means the default model.
_PUBLISHED = (
    "671ac645ce5e552cc63a54a2bbff63fcf798043055d2dac5fc9e36a837eedcfb",
    "b05b1dff1d8c6dc63d14b0cdb42135378dcb87f6373b0d3d341ede46e59e2b38",
    "7be0f12c54a8d033a0fbd14418c9af98962da9a86f5ff7811f9b3423a1f0b7d7",
    "7a76a8258b23fae65c5a22debb8841d1d7e816b75c2f24218cd2bd8573787906",
)
_COG_VERSION = "0.16.0"


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A served model under the name and the version that a client used."""

    card: ModelCard
    name: str
    version: str


class ReplicateModels:
    """Resolves `owner/name` and version ids to served models."""

    def __init__(self, router: ModelRouter) -> None:
        self._router = router
        self._started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._by_version = {_version_of(card): card for card in router.cards}

    def named(self, name: str) -> NamedModel:
        """Find the model `owner/name`. Raises ModelNotFound."""
        if name == MUSICGEN:
            return NamedModel(self._router.default, name, _PUBLISHED[0])
        card = self._router.resolve_repository(name)
        return NamedModel(card, name, _version_of(card))

    def of_version(self, version: str) -> NamedModel:
        """Find the model of an id, of `owner/name` or of `owner/name:id`. Raises InvalidInput."""
        name, _, version_id = version.rpartition(":") if ":" in version else (version, "", "")
        if "/" in name:
            return self._of_named_version(name, version_id)
        if version in _PUBLISHED:
            return NamedModel(self._router.default, MUSICGEN, version)
        card = self._by_version.get(version)
        if card is None:
            raise InvalidInput(
                f"version '{version[:100]}' is not served here: name the model instead, such as "
                f"{MUSICGEN}"
            )
        return NamedModel(card, name_of(card), version)

    def with_version(self, name: str, version_id: str) -> NamedModel:
        """Find a version of a model. Raises ModelNotFound."""
        model = self.named(name)
        is_published = name == MUSICGEN and version_id in _PUBLISHED
        if version_id != model.version and not is_published:
            raise ModelNotFound(f"Model '{name}' has no version '{version_id[:100]}' here")
        return NamedModel(model.card, name, version_id)

    def agreed(self, name: str, version: str | None) -> NamedModel:
        """Find the model `owner/name`, whose version the body may name, too.

        Raises ModelNotFound, and InvalidInput for a version of another model.
        """
        model = self.named(name)
        if version is None:
            return model
        wanted = self.of_version(version)
        if wanted.card is not model.card:
            raise InvalidInput(
                f"version: '{version[:100]}' is of {wanted.name}, and the address names {name}: "
                "leave version out"
            )
        return replace(model, version=wanted.version)

    def chosen(self, model: NamedModel, model_version: str | None) -> ModelCard:
        """Find the model that the input's `model_version` names; MUSICGEN leaves the choice open.

        Raises InvalidInput for a model that is not served, and for another than the named one.
        """
        if model_version is None:
            return model.card
        try:
            card = self._router.resolve(model_version)
        except ModelNotFound as error:
            raise InvalidInput(f"input.model_version: {error.message}") from error
        if card is not model.card and model.name != MUSICGEN:
            raise InvalidInput(
                f"input.model_version: '{model_version[:100]}' is another model than {model.name}: "
                f"leave it out, or use {MUSICGEN}"
            )
        return card

    def hosted(self, model: NamedModel, base_url: str, *, whole: bool = True) -> HostedModel:
        """Describe a model. whole: with its version."""
        owner, _, name = model.name.partition("/")
        card = model.card
        return HostedModel(
            url=f"{base_url}/v1/models/{model.name}",
            owner=owner,
            name=name,
            description=f"{card.model_id}: weights of {card.source}, licence {card.license}",
            latest_version=self.version(model) if whole else None,
        )

    def listed(self, base_url: str) -> list[HostedModel]:
        """Describe all models, first the one that `meta/musicgen` means."""
        names = [MUSICGEN, *(name_of(card) for card in self._router.cards)]
        return [self.hosted(self.named(name), base_url, whole=False) for name in names]

    def version(self, model: NamedModel) -> ModelVersion:
        """Describe the version, with the schemas of the input and the output."""
        schemas = {
            "Input": schema_of(MusicGenInput),
            "Output": {"type": "string", "format": "uri", "title": "Output"},
        }
        return ModelVersion(
            id=model.version,
            created_at=self._started_at,
            cog_version=_COG_VERSION,
            openapi_schema={"openapi": "3.1.0", "components": {"schemas": schemas}},
        )

    def _of_named_version(self, name: str, version_id: str) -> NamedModel:
        try:
            return self.with_version(name, version_id) if version_id else self.named(name)
        except ModelNotFound as error:
            raise InvalidInput(f"version: {error.message}") from error


def name_of(card: ModelCard) -> str:
    """Name a model `owner/name`: its repository, or its id below an owner of this service."""
    return card.source if card.is_repository else f"{_OWNER}/{card.model_id}"


def _version_of(card: ModelCard) -> str:
    """Draw the id of the model's version, 64 hexadecimal digits as Replicate's, from its id."""
    return hashlib.sha256(f"{_OWNER}/{card.model_id}".encode()).hexdigest()
