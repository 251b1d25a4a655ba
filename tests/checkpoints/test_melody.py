"""Melody models: both forms load to the same numbers, and whatever is not supported is named."""

import itertools
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.checkpoints.hub import resolve
from serve_app.checkpoints.inventory import check_folder, check_source
from serve_app.config.model_loading import CheckpointForm
from serve_app.errors import CheckpointError
from serve_app.models.chroma import PUBLISHED, MelodyConfig
from tests.architectures import (
    MELODY,
    STEREO_MELODY,
    Architecture,
    make_encodec,
    put_in_cache,
    write_audiocraft,
    write_huggingface,
)
from tests.checkpoints.test_audiocraft import edit_export
from tests.checkpoints.test_checkpoint import same_weights
from tests.checkpoints.test_huggingface import edit_json, edit_tensors
from tests.checkpoints.test_mutations import VALUES

WEIGHTS = "model.safetensors"
EXTRACTOR = "preprocessor_config.json"
LM = "state_dict.bin"
CODEC = "compression_state_dict.bin"
MELODY_BIAS = "condition_provider.conditioners.self_wav.output_proj.bias"
SAFE = ["*.json", "*.safetensors", "*.model"]
EXPORT = ["state_dict.bin", "compression_state_dict.bin"]
PARTS = {
    r"decoder\.model\.decoder\.embed_tokens\.": "emb.",
    r"decoder\.lm_heads\.": "linears.",
    r"decoder\.model\.decoder\.layer_norm\.": "out_norm.",
    r"decoder\.model\.decoder\.layers\.": "transformer.layers.",
    r"audio_enc_to_dec_proj\.": "condition_provider.conditioners.self_wav.output_proj.",
    r"enc_to_dec_proj\.": "condition_provider.conditioners.description.output_proj.",
}
MODULES = {
    "self_attn_layer_norm": "norm1",
    "final_layer_norm": "norm2",
    "fc1": "linear1",
    "fc2": "linear2",
}


@pytest.fixture(scope="session", params=[MELODY, STEREO_MELODY], ids=lambda one: one.name)
def saved(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, hub_cache: Path
) -> tuple[Architecture, Path, Path]:
    """An architecture, and checkpoints of it in both forms with the same language model."""
    architecture: Architecture = request.param
    folder = tmp_path_factory.mktemp("melody")
    transformers = write_huggingface(architecture, folder / "transformers")
    export = write_audiocraft(architecture, folder / "audiocraft", hub_cache)
    package = torch.load(export / LM, weights_only=True)
    window = package["best_state"]["condition_provider.conditioners.self_wav.chroma.spec.window"]
    package["best_state"] = audiocraft_names(load_file(transformers / WEIGHTS)) | {
        "condition_provider.conditioners.self_wav.chroma.spec.window": window
    }
    torch.save(package, export / LM)
    return architecture, transformers, export


@pytest.fixture
def transformers(saved: tuple[Architecture, Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved[1], tmp_path / "transformers"))


@pytest.fixture
def export(saved: tuple[Architecture, Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved[2], tmp_path / "audiocraft"))


def audiocraft_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The language model's tensors under AudioCraft's names, with query, key and value packed."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        for foreign, own in PARTS.items():
            if match := re.match(foreign, name):
                rest = name[match.end() :]
                for module, other in MODULES.items():
                    rest = rest.replace(f".{module}.", f".{other}.")
                renamed[own + rest] = tensor
                break
    for query in [name for name in renamed if ".q_proj.weight" in name]:
        parts = [renamed.pop(query.replace("q_proj", f"{one}_proj")) for one in "qkv"]
        renamed[query.replace("q_proj.weight", "in_proj_weight")] = torch.cat(parts)
    return renamed


def fault(folder: Path, **options: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(folder), **options)
    return caught.value.message


def test_both_forms_load_to_the_same_model(saved: tuple[Architecture, Path, Path]) -> None:
    architecture, transformers, export = saved
    one = load_checkpoint(str(transformers)).musicgen
    other = load_checkpoint(str(export)).musicgen
    assert one.config == other.config
    assert same_weights(one, other)
    assert one.config.melody == MelodyConfig(
        chroma_length=235, sample_rate=architecture.sample_rate, fft_size=4096
    )
    assert one.config.conditioning.prefix_positions == 235
    assert one.num_parameters == sum(weight.numel() for weight in one.state_dict().values())
    assert not any("cross" in name for name in one.state_dict())


def test_a_published_configuration_makes_the_published_chroma(transformers: Path) -> None:
    """Without a file of the extractor, and with what transformers and AudioCraft publish."""
    (transformers / EXTRACTOR).unlink()
    edit_json(audio_encoder__sampling_rate=32_000)(transformers)
    assert load_checkpoint(str(transformers)).musicgen.config.melody == PUBLISHED


def test_an_export_s_window_sets_the_chroma_s_length(export: Path, tmp_path: Path) -> None:
    edit_export(LM, lambda _, cfg: chroma_of(cfg).update(radix2_exp=14))(export)
    edit_export(LM, lambda _, cfg: cfg.update(sample_rate=PUBLISHED.sample_rate))(export)
    codec = make_encodec(replace(MELODY, sample_rate=PUBLISHED.sample_rate))
    codec.save_pretrained(tmp_path / "codec")
    checkpoint = load_checkpoint(str(export), codec_source=str(tmp_path / "codec"))
    assert checkpoint.musicgen.config.melody == PUBLISHED


def test_the_extractor_is_also_found_in_the_processor_s_file(transformers: Path) -> None:
    expected = load_checkpoint(str(transformers)).musicgen.config
    options = json.loads((transformers / EXTRACTOR).read_text())
    (transformers / EXTRACTOR).unlink()
    processor = {"feature_extractor": options, "processor_class": "MusicgenMelodyProcessor"}
    (transformers / "processor_config.json").write_text(json.dumps(processor))
    assert load_checkpoint(str(transformers)).musicgen.config == expected


@pytest.mark.parametrize("form", ["transformers", "audiocraft"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_melody_s_projection_has_the_model_s_precision(
    saved: tuple[Architecture, Path, Path], form: str, dtype: torch.dtype
) -> None:
    folder = saved[1] if form == "transformers" else saved[2]
    model = load_checkpoint(str(folder), dtype=dtype).musicgen
    assert {weight.dtype for weight in model.state_dict().values()} == {dtype}
    assert model.leading(None).dtype == dtype


def test_a_model_as_wide_as_chroma_has_no_projection(tmp_path: Path) -> None:
    narrow = replace(MELODY, hidden_size=12, num_heads=2, text_size=12)
    folder = write_huggingface(narrow, tmp_path / "narrow")
    model = load_checkpoint(str(folder)).musicgen
    assert not any("melody_proj" in name for name in model.state_dict())
    assert set(model.leading(torch.full((235,), 7))[0].argmax(dim=-1).tolist()) == {7}


INCOMPLETE = {
    "decoder.lm_heads.0.weight",
    "decoder.lm_heads.2.weight",
    "audio_enc_to_dec_proj.weight",
    "audio_enc_to_dec_proj.bias",
}


def test_incomplete_safetensors_are_named_and_the_other_form_is_offered(
    transformers: Path, export: Path
) -> None:
    def remove(tensors: dict[str, Any]) -> None:
        for name in INCOMPLETE:
            del tensors[name]

    edit_tensors(remove)(transformers)
    for file in export.iterdir():
        shutil.copy(file, transformers)
    message = fault(transformers)
    named = re.findall(r"'([\w.]+)'", message)
    assert len(named) == 3
    assert set(named) < INCOMPLETE
    assert f"{WEIGHTS}: tensors '" in message
    assert " and 1 more are missing" in message
    assert "set model_loading_config.checkpoint_form to audiocraft" in message
    loaded = load_checkpoint(str(transformers), form="audiocraft").musicgen
    assert same_weights(loaded, load_checkpoint(str(export)).musicgen)


def test_the_form_may_be_chosen(transformers: Path, export: Path) -> None:
    """A folder with both, in which each has another bias."""
    edit_export(LM, lambda package, _: package["best_state"][MELODY_BIAS].fill_(7))(export)
    for file in export.iterdir():
        shutil.copy(file, transformers)

    def seven(form: CheckpointForm) -> bool:
        check_folder(transformers, form=form)
        model = load_checkpoint(str(transformers), form=form).musicgen
        return bool((model.state_dict()["melody_proj.bias"] == 7).all())

    assert not seven("auto")
    assert not seven("transformers")
    assert seven("audiocraft")


def test_a_chosen_form_must_be_there(transformers: Path, export: Path) -> None:
    without_export: tuple[CheckpointForm, Path, str] = ("audiocraft", transformers, LM)
    without_safetensors: tuple[CheckpointForm, Path, str] = ("transformers", export, WEIGHTS)
    for form, folder, file in (without_export, without_safetensors):
        said = f"{folder / file}: the file is missing, but checkpoint_form is '{form}'. Set it to"
        assert fault(folder, form=form).startswith(said)
        with pytest.raises(CheckpointError, match=re.escape(said)):
            check_folder(folder, form=form)


def test_a_chosen_form_must_be_in_the_cache(transformers: Path, hub_cache: Path) -> None:
    """Without a network the other form of a cached repository does not count."""
    name = f"someone/{transformers.parent.name}"
    put_in_cache(hub_cache, name, lambda to: shutil.copytree(transformers, to, dirs_exist_ok=True))
    assert check_source(name)
    assert check_source(name, form="transformers")
    with pytest.raises(CheckpointError, match="is not in the hub's cache"):
        check_source(name, form="audiocraft")


def test_a_fine_tune_with_a_named_codec_loads(export: Path, hub_cache: Path) -> None:
    """The form of musicgen-songstarter: tensors with attributes, and the codec by its name alone."""
    expected = load_checkpoint(str(export)).musicgen
    package = torch.load(export / LM, weights_only=True)
    for tensor in package["best_state"].values():
        tensor.origin = "fine-tune"  # pickled by torch._tensor._rebuild_from_type_v2
    (export / LM).unlink()  # the loaded weights are mapped from it
    torch.save(package, export / LM)
    assert b"_rebuild_from_type_v2" in (export / LM).read_bytes()
    put_in_cache(hub_cache, "someone/codec", lambda to: make_encodec(MELODY).save_pretrained(to))
    torch.save({"pretrained": "someone/codec", "exported": True}, export / CODEC)
    checkpoint = load_checkpoint(str(export))
    assert same_weights(checkpoint.musicgen, expected)
    assert checkpoint.codec.config.codebook_size == 1024


@pytest.mark.parametrize(
    ("form", "downloaded"),
    [
        ("auto", [SAFE, EXPORT]),
        ("transformers", [SAFE]),
        ("audiocraft", [EXPORT]),
    ],
)
def test_only_the_chosen_form_is_downloaded(
    export: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: CheckpointForm,
    downloaded: list[list[str]],
) -> None:
    patterns: list[list[str]] = []

    def snapshot(_: str, revision: str | None, allow_patterns: list[str]) -> str:
        assert revision == "v1"
        patterns.append(allow_patterns)
        return str(export)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert resolve("someone/melody@v1", form) == export
    assert patterns == downloaded


def melody_of(cfg: dict[str, Any]) -> dict[str, Any]:
    melody: dict[str, Any] = cfg["conditioners"]["self_wav"]
    return melody


def chroma_of(cfg: dict[str, Any]) -> dict[str, Any]:
    chroma: dict[str, Any] = melody_of(cfg)["chroma_stem"]
    return chroma


CROSS = "transformer.layers.0.cross_attention.in_proj_weight"
EXPORT_FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (
        edit_export(LM, lambda _, c: melody_of(c).update(model="style")),
        "self_wav.model is 'style': a MusicGen-Style, .* not supported. Use a melody model",
    ),
    (
        edit_export(LM, lambda _, c: melody_of(c).update(model="chroma_chord")),
        "self_wav.model is 'chroma_chord': a variant for chords, and is not supported",
    ),
    (
        edit_export(LM, lambda _, c: melody_of(c).update(model="clap")),
        r"self_wav.model is 'clap', which is not supported \(only 'chroma_stem'\)",
    ),
    (
        edit_export(LM, lambda _, c: c["fuser"].update(prepend=["description"])),
        r"fuser.prepend is \['description'\], which is not supported",
    ),
    (
        edit_export(LM, lambda _, c: c["fuser"].update(cross=["description"])),
        r"fuser.cross is \['description'\], which is not supported",
    ),
    (
        edit_export(LM, lambda _, c: chroma_of(c).update(argmax=False)),
        "chroma_stem.argmax is False, which is not supported",
    ),
    (
        edit_export(LM, lambda _, c: chroma_of(c).update(winhop=7)),
        "chroma_stem.winhop is 7, which is not supported",
    ),
    (
        edit_export(LM, lambda _, c: chroma_of(c).update(radix2_exp=4)),
        "chroma_stem.radix2_exp makes 60001 frames of chroma in 30 s, above 4096",
    ),
    (
        edit_export(LM, lambda _, c: chroma_of(c).update(n_chroma="12")),
        "chroma_stem.n_chroma is '12', not an integer",
    ),
    (
        edit_export(LM, lambda _, c: chroma_of(c).update(sample_rate=16_000)),
        "the melody is taken at 16000 Hz, but the codec has 8000 Hz",
    ),
    (
        edit_export(LM, lambda p, _: p["best_state"].update({CROSS: torch.ones(96, 32)})),
        rf"unexpected tensors '{CROSS}'",
    ),
    (
        edit_export(LM, lambda p, _: p["best_state"].pop(MELODY_BIAS)),
        rf"tensor '{MELODY_BIAS}' is missing",
    ),
]


@pytest.mark.parametrize(
    ("break_it", "said"), EXPORT_FAULTS, ids=[said[:40] for _, said in EXPORT_FAULTS]
)
def test_faults_of_an_export_are_named(
    export: Path, break_it: Callable[[Path], object], said: str
) -> None:
    break_it(export)
    assert re.search(said, fault(export)), fault(export)


def edit_extractor(**values: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = folder / EXTRACTOR
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return edit


def in_processor(value: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / EXTRACTOR).unlink()
        (folder / "processor_config.json").write_text(json.dumps({"feature_extractor": value}))

    return edit


ENCODER_ATTENTION = "decoder.model.decoder.layers.1.encoder_attn.q_proj.weight"
FOLDER_FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (edit_json(num_chroma=24), "preprocessor_config.json: feature_size is 12, .*only 24"),
    (edit_json(chroma_length=0), "config.json: chroma_length is 0, not an integer from 1"),
    (edit_json(chroma_length=10**6), "chroma_length is 1000000, not an integer from 1 to 4096"),
    (edit_json(model_type="musicgen"), "tensors .*encoder_attn.* are missing"),
    (edit_extractor(hop_length=1000), "hop_length is 1000, which is not supported .only 1024"),
    (edit_extractor(n_fft="4096"), "n_fft is '4096', not an integer"),
    (edit_extractor(feature_extractor_type="Encodec"), "feature_extractor_type is 'Encodec'"),
    (edit_extractor(sampling_rate=32_000), "taken at 32000 Hz, but the codec has 8000 Hz"),
    (lambda f: (f / EXTRACTOR).unlink(), "taken at 32000 Hz, but the codec has 8000 Hz"),
    (lambda f: (f / EXTRACTOR).write_text("[]"), "preprocessor_config.json: not readable JSON"),
    (lambda f: (f / EXTRACTOR).write_text("{"), "preprocessor_config.json: not readable JSON"),
    (in_processor([]), "processor_config.json: feature_extractor is no object"),
    (
        edit_tensors(lambda t: t.update({ENCODER_ATTENTION: torch.ones(32, 32)})),
        rf"unexpected tensors '{ENCODER_ATTENTION}'",
    ),
]


@pytest.mark.parametrize(
    ("break_it", "said"), FOLDER_FAULTS, ids=[said[:40] for _, said in FOLDER_FAULTS]
)
def test_faults_of_a_folder_are_named(
    transformers: Path, break_it: Callable[[Path], object], said: str
) -> None:
    break_it(transformers)
    assert re.search(said, fault(transformers)), fault(transformers)


@pytest.mark.parametrize("file", ["config.json", EXTRACTOR])
def test_every_value_of_the_melody_loads_or_is_refused(
    saved: tuple[Architecture, Path, Path], tmp_path: Path, file: str
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(saved[1], folder)
    values = json.loads((folder / file).read_text())
    names = ("num_chroma", "chroma_length") if file == "config.json" else tuple(values)
    outcomes = []
    for name, value in itertools.product(names, VALUES):
        (folder / file).write_text(json.dumps(values | {name: value}))
        try:
            load_checkpoint(str(folder))
        except CheckpointError as error:
            outcomes.append(error.message)
        else:
            outcomes.append("loaded")
    assert set(outcomes) > {"loaded"}
    assert all(one == "loaded" or one.startswith(str(folder)) for one in outcomes)
