"""Adapters merged at load equal PEFT's own merge, onto either form of base; others are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint, load_checkpoint
from serve_app.checkpoints.hub import fetch
from serve_app.checkpoints.inventory import check_adapter
from serve_app.config.adapter import AdapterSource
from serve_app.errors import CheckpointError
from tests.adapters import write_adapters
from tests.architectures import (
    MELODY,
    STEREO_MELODY,
    put_in_cache,
    write_audiocraft,
    write_huggingface,
)

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
PATTERNS = {
    "rank_pattern": {"fc1": 2, r"layers\.1\.self_attn\.[qk]_proj": 6},
    "alpha_pattern": {"q_proj": 3, r"decoder\.lm_heads\.2": 1},
}


@pytest.fixture(scope="module")
def written(huggingface_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The merge by PEFT, and the adapter alone."""
    folder = tmp_path_factory.mktemp("adapter")
    merged, [adapter] = write_adapters(huggingface_model, folder, {"lora_alpha": 8} | PATTERNS)
    return merged, adapter


@pytest.fixture
def adapter(written: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy to change."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    for name in (WEIGHTS, CONFIG):
        (folder / name).write_bytes((written[1] / name).read_bytes())
    return folder


def load(base: Path, *adapters: Path | AdapterSource, **options: Any) -> Checkpoint:
    named = [
        one if isinstance(one, AdapterSource) else AdapterSource(source=str(one))
        for one in adapters
    ]
    return load_checkpoint(str(base), adapters=named, **options)


def weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    return checkpoint.musicgen.state_dict()


def assert_equal(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert given.keys() == wanted.keys()
    for name, tensor in given.items():
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{"lora_alpha": 8}, {"lora_alpha": 3, "use_rslora": True}, {"use_rslora": True} | PATTERNS],
    ids=["plain", "rsLoRA", "patterns and rsLoRA"],
)
def test_a_merge_equals_pefts(
    huggingface_model: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    merged, [adapter] = write_adapters(huggingface_model, tmp_path, options)
    given = weights(load(huggingface_model, adapter))
    assert_equal(given, weights(load(merged)))
    plain = weights(load(huggingface_model))
    unchanged = [name for name in given if torch.equal(given[name], plain[name])]
    assert {name for name in unchanged if name.endswith(".weight")} == {
        name for name in given if name.endswith("norm.weight")
    }


def test_several_adapters_with_weights_are_added(huggingface_model: Path, tmp_path: Path) -> None:
    """PEFT takes a weight as a factor of `lora_alpha`."""
    few = {"r": 2, "target_modules": ["fc1", "q_proj"], "lora_alpha": 2}
    merged, [first, second] = write_adapters(huggingface_model, tmp_path, {"lora_alpha": 8}, few)
    both = weights(load(huggingface_model, first, second))
    assert_equal(both, weights(load(merged)))
    config = json.loads((second / CONFIG).read_text())
    (second / CONFIG).write_text(json.dumps(config | {"lora_alpha": 4}))
    weighted = AdapterSource(source=str(second), weight=0.5)
    assert_equal(weights(load(huggingface_model, first, weighted)), both)


@pytest.fixture(scope="module", params=["text", "melody", "stereo melody"])
def bases(
    request: pytest.FixtureRequest,
    huggingface_model: Path,
    exported_model: Path,
    hub_cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Path]:
    """Models of one architecture in both forms, with other weights."""
    if request.param == "text":
        return huggingface_model, exported_model
    architecture = MELODY if request.param == "melody" else STEREO_MELODY
    folder = tmp_path_factory.mktemp("melody")
    export = write_audiocraft(architecture, folder / "export", hub_cache)
    return write_huggingface(architecture, folder / "huggingface"), export


def test_both_forms_of_base_get_pefts_change(bases: tuple[Path, Path], tmp_path: Path) -> None:
    base, exported = bases
    merged, [adapter] = write_adapters(base, tmp_path, PATTERNS)
    plain = weights(load(base))
    wanted = weights(load(merged))
    given = weights(load(base, adapter))
    assert_equal(given, wanted)
    unchanged = {name for name in given if torch.equal(given[name], plain[name])}
    assert {name for name in given if "norm" not in name and name.endswith("weight")} == {
        name for name in given if name.endswith("weight") and name not in unchanged
    }
    export = weights(load(exported))
    change = {name: tensor - plain[name] for name, tensor in wanted.items()}
    summed = {name: tensor + change[name] for name, tensor in export.items()}
    assert not torch.equal(export["heads.weight"], plain["heads.weight"])
    assert_equal(weights(load(exported, adapter)), summed)


def test_the_sum_is_rounded_once(huggingface_model: Path, written: tuple[Path, Path]) -> None:
    merged, adapter = written
    given = weights(load(huggingface_model, adapter, dtype=torch.bfloat16))
    for name, tensor in weights(load(merged)).items():
        difference = (given[name].float() - tensor).abs()
        assert (difference <= tensor.abs() * 2**-8 + 1e-6).all(), name


def test_the_base_is_not_changed(huggingface_model: Path, written: tuple[Path, Path]) -> None:
    before = weights(load(huggingface_model))
    load(huggingface_model, written[1])
    assert_equal(weights(load(huggingface_model)), before)


def options(**values: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps(config | values))

    return edit


def tensors(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        content = load_file(folder / WEIGHTS)
        change(content)
        save_file(content, folder / WEIGHTS)

    return edit


def rename(old: str, new: str) -> Callable[[dict[str, Tensor]], None]:
    def change(content: dict[str, Tensor]) -> None:
        for name in [name for name in content if old in name]:
            content[name.replace(old, new)] = content.pop(name)

    return change


PROJECTION = "base_model.model.enc_to_dec_proj.lora_A.weight"
OF_THE_CONFIGURATION: list[tuple[Callable[[Path], object], str]] = [
    (
        options(use_dora=True),
        "adapter_config.json: use_dora is True, which is not supported. Merge",
    ),
    (options(bias="all"), "bias is 'all', which is not supported"),
    (options(lora_bias=True), "lora_bias is True"),
    (options(modules_to_save=["lm_heads"]), r"modules_to_save is \['lm_heads'\]"),
    (options(fan_in_fan_out=True), "fan_in_fan_out is True"),
    (options(peft_type="LOHA"), r"peft_type is 'LOHA', which is not supported \(only 'LORA'\)"),
    (options(init_lora_weights="pissa_niter_4"), "init_lora_weights is 'pissa_niter_4'"),
    (options(some_option_to_come={"x": 1}), "some_option_to_come is {'x': 1}"),
    (options(r="4"), "r is '4', not an integer"),
    (options(lora_alpha=None), "lora_alpha is missing"),
    (options(rank_pattern={"(": 3}), "rank_pattern is no mapping from regular expressions"),
    (options(rank_pattern=["fc1"]), "rank_pattern is no mapping from regular expressions"),
    (options(rank_pattern={r"([\w.]+)+!": 3}), "repeats a group"),
    (options(rank_pattern={r"\w?" * 30 + "!": 3}), "too many repetitions"),
    (options(alpha_pattern={"(e|e)" * 30 + "!": 3}), "repeats a group, or has too many"),
    (options(alpha_pattern={"fc1": "x"}), "alpha_pattern.fc1 is 'x', not a number"),
    (lambda f: (f / CONFIG).write_text("[]"), "adapter_config.json: not readable JSON .*no object"),
    (lambda f: (f / CONFIG).unlink(), "adapter_config.json: the file is missing. Name the folder"),
    (lambda f: (f / WEIGHTS).unlink(), "adapter_model.safetensors: the file is missing"),
    (
        lambda f: (f / WEIGHTS).rename(f / "adapter_model.bin"),
        "adapter_model.bin: pickled adapters are not read. Load it with PEFT",
    ),
    (lambda f: (f / WEIGHTS).write_bytes(b"x" * 40), "not a readable safetensors file"),
]
OF_THE_TENSORS: list[tuple[Callable[[Path], object], str]] = [
    (
        tensors(rename("fc2", "fc9")),
        r"adapts '.*\.fc9', but the model has no such module.* trained on",
    ),
    (
        tensors(rename("enc_to_dec_proj", "text_encoder.encoder.final")),
        "adapters of the text encoder and of the codec are not supported",
    ),
    (
        tensors(lambda t: t.update({PROJECTION: torch.ones(4, 7)})),
        r"changes a weight of \(32, 7\) in 'enc_to_dec_proj', but the model's is \(32, 24\)",
    ),
    (tensors(lambda t: t.pop(PROJECTION)), "'enc_to_dec_proj' has only one of its two matrices"),
    (
        tensors(lambda t: t.update({PROJECTION: torch.ones(5, 24)})),
        r"has matrices of \(5, 24\) and \(32, 4\), but its rank in adapter_config.json is 4",
    ),
    (
        tensors(rename("enc_to_dec_proj.lora_A", "enc_to_dec_proj.lora_magnitude_vector")),
        "tensor '.*lora_magnitude_vector.weight' is not of a plain LoRA adapter",
    ),
    (tensors(lambda t: t.update({PROJECTION: torch.ones(4)})), r"is \(4,\) of .*, not a matrix"),
    (
        tensors(lambda t: t.update({PROJECTION: torch.full((4, 24), torch.nan)})),
        f"tensor '{PROJECTION}' has values that are not finite",
    ),
]


@pytest.mark.parametrize(("break_it", "said"), OF_THE_CONFIGURATION + OF_THE_TENSORS)
def test_what_is_not_supported_is_refused_by_name(
    huggingface_model: Path, adapter: Path, break_it: Callable[[Path], object], said: str
) -> None:
    break_it(adapter)
    with pytest.raises(CheckpointError, match=said):
        load(huggingface_model, adapter)


@pytest.mark.parametrize(("break_it", "said"), OF_THE_CONFIGURATION)
def test_faults_of_its_files_are_found_before_a_start(
    adapter: Path, break_it: Callable[[Path], object], said: str
) -> None:
    assert check_adapter(str(adapter))
    break_it(adapter)
    with pytest.raises(CheckpointError, match=said):
        check_adapter(str(adapter))


def test_a_sum_beyond_the_precision_is_named(huggingface_model: Path, adapter: Path) -> None:
    tensors(lambda t: t.update({PROJECTION: torch.full((4, 24), 1e6)}))(adapter)
    with pytest.raises(CheckpointError, match=r"beyond the range of torch.float16 .* bf16 or fp32"):
        load(huggingface_model, adapter, dtype=torch.float16)


def test_an_adapter_is_no_model(adapter: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        load(adapter)
    assert "holds a LoRA adapter, and no model. Write its base in model_source (" in (
        caught.value.message
    )
    assert caught.value.message.endswith(f"adapter_source: {adapter}")


def test_a_model_is_no_adapter(huggingface_model: Path) -> None:
    with pytest.raises(CheckpointError, match=r"adapter_config.json: .*belongs into model_source"):
        load(huggingface_model, huggingface_model)


def test_an_adapter_comes_from_the_hub(
    huggingface_model: Path, hub_cache: Path, written: tuple[Path, Path]
) -> None:
    def write(folder: Path) -> None:
        for name in (WEIGHTS, CONFIG):
            (folder / name).write_bytes((written[1] / name).read_bytes())

    put_in_cache(hub_cache, "someone/adapter", write)
    named = AdapterSource(source="someone/adapter")
    assert check_adapter(named.source)
    assert (fetch(named.source) / WEIGHTS).exists()
    assert_equal(weights(load(huggingface_model, named)), weights(load(written[0])))
    with pytest.raises(CheckpointError, match="'someone/none' is not in the hub's cache"):
        check_adapter("someone/none")
