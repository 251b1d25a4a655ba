"""Configuration of the HTTP API: `args.api`."""

from typing import Annotated, Literal, get_args

from pydantic import Field, PositiveFloat, PositiveInt

from serve_app.config.closed_model import ClosedModel

LOCAL_ORIGINS = ("http://localhost:*", "http://127.0.0.1:*")  # pages in development

Dialect = Literal["openai", "elevenlabs", "huggingface", "replicate", "vllm"]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)
Origin = Annotated[str, Field(pattern=r"^(\*|https?://[A-Za-z0-9.-]+(:[0-9]+|:\*)?)$")]


class AccessConfig(ClosedModel):
    """API keys and the limits of each key."""

    keys_env: str = Field(default="MUSICGEN_API_KEYS", pattern=r"^[A-Z][A-Z0-9_]*$")
    """Environment variable of the ingress that holds the keys, as `name:key,name:key`."""
    keys_file: str | None = None
    """File with one `name:key` per line, read again when it changes. It must hold a key at the
    start; if it holds none later, the last keys stay in force. Default: none."""
    require_keys: bool = False
    """Refuse to start without keys. Otherwise a service without keys answers anyone."""
    max_concurrent_requests: PositiveInt | None = None
    """Requests of one key at a time, over the ingress replicas that `coordination` joins; beyond it
    `429`. Default: no limit."""
    max_audio_s_per_minute: PositiveFloat | None = None
    """Seconds of music per minute of one key, over the same replicas; beyond it `429`. Default: no
    limit."""


class ApiConfig(ClosedModel):
    """The HTTP API."""

    max_prompt_chars: PositiveInt = 2000
    """Longest prompt, in characters; a longer one gets `400`."""
    max_header_bytes: PositiveInt = 32_768
    """Largest headers of a request, in bytes; larger ones get `431`."""
    max_body_bytes: PositiveInt = 65_536
    """Largest body of a request, in bytes; a larger one gets `413`."""
    max_upload_bytes: PositiveInt = 16_777_216
    """The same on the routes that take audio: of generations, jobs, files, conversions, checks of
    marks, and the older `/` and `/generate`."""
    upload_memory_bytes: PositiveInt = 536_870_912
    """Memory for bodies above `max_body_bytes` in one ingress replica, in bytes, at least one body's;
    while unfinished requests hold so much, further large bodies get `429`."""
    stream_default_format: Literal["mp3", "opus"] = "mp3"
    """Format of `/v1/audio/stream` for a call that names none. `opus` takes about half the CPU time
    of `mp3`, but its length is unknown until the track is complete, and Safari plays it from 18.4 on."""
    stream_memory_bytes: PositiveInt = 134_217_728
    """Memory for the files of `/v1/audio/stream` in one ingress replica, in bytes. Files that
    nobody fetches make room for new ones; while all are being fetched, new ones get `429`."""
    stream_kept_s: PositiveFloat = 300.0
    """Seconds for which the file of `/v1/audio/stream` can be fetched again since its last use."""
    stream_grace_s: PositiveFloat = 120.0
    """Seconds for which an unfinished track of `/v1/audio/stream` goes on without a listener."""
    max_audio_prompt_s: PositiveFloat = 30.0
    """Longest audio that a track may begin with, in seconds; longer audio gets `400`."""
    max_melody_s: PositiveFloat = 120.0
    """Longest part of a melody that is used, in seconds; the rest of a longer file is not read."""
    max_conversion_s: PositiveFloat = 600.0
    """Longest audio that is converted or checked for marks, in seconds; longer gets `400`."""
    body_timeout_s: PositiveFloat = 10.0
    """Seconds to receive a body, plus one for each 16 KiB of it; a slower body gets `408`."""
    model_wait_s: float = Field(default=60.0, ge=0.0)
    """Seconds that Hugging Face's clients wait for a loading model before they get `503`."""
    dialects: tuple[Dialect, ...] = DIALECTS
    """Other services whose clients are served; the routes of those left out answer `404`. See
    [clients of other services](api.md#clients-of-other-services)."""
    cors_origins: tuple[Origin, ...] = LOCAL_ORIGINS
    """Other origins whose web pages may call the API, such as `https://music.example`; `:*` after a
    host: any port. `*`: any origin, without credentials. Without API keys, other pages get `403`,
    the service's own too under a public name without HTTPS: name it here."""
    access: AccessConfig = AccessConfig()
    """API keys and their limits."""
