"""Fields of requests and answers. Written by `make client` from serve_app/api/schemas: edit those."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12


class FileFields(TypedDict, total=False):
    """Options of the audio file to answer with."""

    response_format: Annotated[
        Literal["wav", "flac", "mp3", "opus", "pcm"],
        Field(
            description=(
                "Format of the file. wav: uncompressed; flac: lossless compression; mp3: MPEG-1"
                " layer III; opus: Opus in an Ogg container; pcm: bare little-endian samples, "
                "channels interleaved. Default: wav."
            )
        ),
    ]
    sample_rate: Annotated[
        int | None,
        Field(
            description="In Hz; when absent, the model's own, or 48000 if the format lacks that."
        ),
    ]
    sample_format: Annotated[
        Literal["int16", "float32"],
        Field(description="Storage of a sample; float32 in wav and pcm. Default: int16."),
    ]
    bitrate_kbps: Annotated[
        int | None,
        Field(description="Bit rate in kbit/s, of mp3 (default: 192), opus (default: 128)."),
    ]
    normalization: Annotated[
        Literal["none", "clip", "peak", "rms", "loudness"],
        Field(
            description=(
                "Gain. none; clip: to full scale; peak: peak to -1 dBFS; rms: root mean square "
                "to -18 dBFS; loudness: to loudness_lufs. No gain raises a peak above -1 dBFS. "
                "Default: none."
            )
        ),
    ]
    loudness_lufs: Annotated[
        float,
        Field(
            ge=-40.0,
            le=-5.0,
            description="Integrated loudness for `loudness`, in LUFS (ITU-R BS.1770-4). Default: -14.",
        ),
    ]
    fade_in_s: Annotated[
        float, Field(ge=0.0, le=30.0, description="Fade at the beginning, in seconds. Default: 0.")
    ]
    fade_out_s: Annotated[
        float, Field(ge=0.0, le=30.0, description="Fade at the end, in seconds. Default: 0.")
    ]


class GenerationFields(FileFields, total=False):
    """A track to make."""

    temperature: Annotated[
        float,
        Field(
            ge=0.0,
            le=10.0,
            description="Softmax temperature of sampling; 0: greedy decoding. Default: 1.",
        ),
    ]
    top_k: Annotated[
        int,
        Field(
            ge=0,
            le=1000000,
            description="Sample from the k likeliest codes; 0: from all. Default: 250.",
        ),
    ]
    top_p: Annotated[
        float,
        Field(
            ge=0.0,
            le=1.0,
            description=(
                "Sample from the likeliest codes of this total probability (nucleus sampling); "
                "replaces top_k when above 0. Default: 0."
            ),
        ),
    ]
    cfg_coef: Annotated[
        float,
        Field(
            ge=0.0,
            le=100.0,
            description="Classifier-free guidance scale; 1: no guidance. Default: 3.",
        ),
    ]
    seed: Annotated[
        int | None,
        Field(
            ge=0,
            le=9223372036854775807,
            description="The same seed makes the same track; drawn when absent.",
        ),
    ]
    model: Annotated[
        str | None,
        Field(
            description=(
                "Id or alias of a served model; the default model when absent; `auto`: the "
                "largest model that is expected to finish the track within max_wait_s."
            )
        ),
    ]
    max_wait_s: Annotated[
        float | None,
        Field(
            gt=0.0,
            le=3600.0,
            description=(
                "Seconds within which the track should be finished; 60 for `auto` when absent. "
                "A named model that is expected to take longer answers 429 at once, one without"
                " a replica 503. When absent, the request waits."
            ),
        ),
    ]
    duration_s: Annotated[
        float,
        Field(
            gt=0.0,
            le=3600.0,
            description="Duration in seconds, including the audio prompt. Default: 30.",
        ),
    ]
    extend_stride_s: Annotated[
        float | None,
        Field(
            ge=1.0,
            le=60.0,
            description=(
                "Seconds by which the model's window slides in a track longer than the window; "
                "when absent 18, of an AudioGen 2."
            ),
        ),
    ]
    decoder: Annotated[
        Literal["encodec", "multiband_diffusion"],
        Field(
            description=(
                "Decoder of the codes. encodec; multiband_diffusion: better sound and many "
                "times the computation, for whole tracks of models that are configured with it."
                " Default: encodec."
            )
        ),
    ]


class ModelCapabilities(TypedDict):
    """Kinds of requests that a model takes.

    Properties that are read from its checkpoint are null until a replica has told them.
    """

    text: Annotated[bool, Field(description="Whether it makes music from a prompt. Default: True.")]
    melody: Annotated[bool | None, Field(description="Whether tracks may follow a melody.")]
    stereo: Annotated[bool | None, Field(description="Whether its tracks are stereo.")]
    continuation: Annotated[
        bool, Field(description="Whether tracks may begin with given audio. Default: True.")
    ]
    max_duration_s: Annotated[
        float | None, Field(description="Duration of the longest track, in seconds.")
    ]
    decoders: Annotated[
        list[Literal["encodec", "multiband_diffusion"]],
        Field(description="Values of `decoder` in requests."),
    ]


class ServedModel(TypedDict):
    """A served model.

    Properties that are read from its checkpoint are null while no replica runs.
    """

    id: Annotated[str, Field(description="Id, for the `model` field of requests.")]
    object: Literal["model"]
    created: Annotated[
        int, Field(description="Unix time at which this part of the service began to serve it.")
    ]
    owned_by: Annotated[
        str, Field(description="Owner of the weights' repository; `unknown` for other weights.")
    ]
    aliases: Annotated[list[str], Field(description="Further names for the `model` field.")]
    source: Annotated[
        str, Field(description="Repository or folder of the weights, and of each adapter in them.")
    ]
    license: Annotated[
        str, Field(description="Licence of the weights; CC-BY-NC-4.0 forbids commercial use.")
    ]
    loaded: Annotated[bool, Field(description="Whether a replica is ready for requests.")]
    sample_rate: Annotated[int | None, Field(description="Sample rate in Hz.")]
    content: Annotated[
        Literal["music", "audio"] | None,
        Field(description="Content of its tracks: music, or audio of any kind (AudioGen)."),
    ]
    channels: Annotated[int | None, Field(description="1: mono; 2: stereo.")]
    max_duration_s: Annotated[
        float | None, Field(description="Duration of the longest track, in seconds.")
    ]
    capabilities: Annotated[
        ModelCapabilities, Field(description="Kinds of requests that it takes.")
    ]
