"""AudioCraft's format: a clear error for everything that can be wrong in an export."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.errors import CheckpointError


def edit_export(
    name: str, change: Callable[[dict[str, Any], dict[str, Any]], None]
) -> Callable[[Path], None]:
    """Change an export's state dict and configuration."""

    def edit(folder: Path) -> None:
        package = torch.load(folder / name, weights_only=True)
        cfg = yaml.safe_load(package.get("xp.cfg", "{}"))
        change(package, cfg)
        torch.save(package | {"xp.cfg": yaml.safe_dump(cfg)}, folder / name)

    return edit


def drop(section: str) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda _, cfg: cfg.pop(section)


LM, CODEC = "state_dict.bin", "compression_state_dict.bin"
PACKED = "transformer.layers.1.cross_attention.in_proj_weight"
EXPORT_FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (
        edit_export(LM, lambda p, _: p["best_state"].pop("emb.1.weight")),
        "state_dict.bin: tensor 'emb.1.weight' is missing",
    ),
    (
        edit_export(LM, lambda p, _: p["best_state"].update(x=torch.ones(1))),
        "unexpected tensors 'x'",
    ),
    (
        edit_export(LM, lambda _, c: c["transformer_lm"].update(dim=16)),
        r"has shape .* but .* needs",
    ),
    (
        edit_export(LM, lambda _, c: c["transformer_lm"].update(norm_first=False)),
        "transformer_lm.norm_first is False",
    ),
    *(
        (edit_export(LM, drop(section)), f"state_dict.bin: has no section '{section}'")
        for section in ("transformer_lm", "conditioners", "fuser", "codebooks_pattern")
    ),
    *(
        (edit_export(CODEC, drop(section)), f"{CODEC}: has no section '{section}'")
        for section in ("encodec", "seanet", "rvq")
    ),
    (
        edit_export(LM, lambda _, c: c.update(sample_rate=0)),
        "sample_rate is 0, not an integer from",
    ),
    (
        edit_export(CODEC, lambda _, c: c["encodec"].update(sample_rate=7)),
        "encodec.sample_rate is 7, not an integer from 400 to",
    ),
    (
        edit_export(LM, lambda _, c: c["transformer_lm"].update(positional_embedding="rope")),
        "positional_embedding is 'rope'",
    ),
    (
        edit_export(LM, lambda _, c: c.update(lm_model="transformer_lm_magnet")),
        "lm_model is 'transformer_lm_magnet'",
    ),
    (
        edit_export(LM, lambda _, c: c["conditioners"].update(chords={})),
        r"\['chords', 'description'\] are not supported",
    ),
    (
        edit_export(LM, lambda _, c: c["codebooks_pattern"].update(modeling="unroll")),
        "modeling is 'unroll'",
    ),
    (
        edit_export(LM, lambda _, c: c["codebooks_pattern"].update(modeling=None)),
        "transformer_lm.q_modeling is None, which is not supported .only 'delay'",
    ),
    (
        edit_export(LM, lambda _, c: c["codebooks_pattern"]["delay"].update(delays=[0, 1])),
        "2 delays for 4 codebooks",
    ),
    (
        edit_export(LM, lambda _, c: c["conditioners"]["description"]["t5"].update(finetune=True)),
        "finetune is True",
    ),
    (edit_export(LM, lambda p, _: p.pop("best_state")), "has no 'best_state'"),
    (edit_export(CODEC, lambda _, c: c["encodec"].update(renormalize=True)), "renormalize is True"),
    (
        edit_export(CODEC, lambda _, c: c.update(compression_model="dac")),
        r"compression_model is 'dac': DAC \(the Descript Audio Codec\) is not supported",
    ),
    (
        edit_export(CODEC, lambda p, _: p.update(pretrained="dac_44khz")),
        r"points to 'dac_44khz', DAC \(the Descript Audio Codec\).* not supported.*codec_source",
    ),
    (
        edit_export(CODEC, lambda p, _: p.update(pretrained="//pretrained/dac_16khz")),
        "DAC .* not supported, only EnCodec",
    ),
    (
        edit_export(CODEC, lambda p, _: p.update(pretrained="//sig/a1b2c3d4")),
        "points to '//sig/a1b2c3d4', a training run on the machine .* codec_source",
    ),
    (
        edit_export(CODEC, lambda p, _: p.update(pretrained="//reference/encodec/base")),
        "points to '//reference/encodec/base', a training run .* codec_source",
    ),
    (
        edit_export(CODEC, lambda _, c: c["seanet"].update(norm="time_group_norm")),
        "seanet.norm is 'time_group_norm', .* codec_source",
    ),
    (
        edit_export(LM, lambda _, c: c["transformer_lm"].update(num_heads=5)),
        r"transformer_lm.num_heads is 5, which does not divide dim \(32\)",
    ),
    (
        edit_export(LM, lambda _, c: c["transformer_lm"].update(dim="32")),
        "transformer_lm.dim is '32', not an integer from 1",
    ),
    (
        edit_export(LM, lambda _, c: c["transformer_lm"].pop("n_q")),
        "state_dict.bin: transformer_lm.n_q is missing",
    ),
    (
        edit_export(LM, lambda _, c: c["conditioners"]["description"]["t5"].update(name=7)),
        "conditioners.description.t5.name is 7, not a text",
    ),
    (edit_export(LM, lambda p, _: p.update(best_state={1: torch.ones(1)})), "no 'best_state'"),
    (
        edit_export(LM, lambda p, _: p["best_state"].update({PACKED: torch.tensor(1.0)})),
        rf"tensor '{PACKED}' has shape \(\), whose rows are not query, key and value",
    ),
    (
        edit_export(LM, lambda p, _: p["best_state"].update({PACKED: torch.ones(95, 32)})),
        r"has shape \(95, 32\), whose rows are not query, key and value",
    ),
    (
        edit_export(CODEC, lambda p, _: p.update(pretrained="/etc/passwd")),
        "points to '/etc/passwd'",
    ),
    (
        lambda f: (f / CODEC).unlink(),
        "compression_state_dict.bin: the file is missing, .* set the model's codec_source",
    ),
    (
        lambda f: (f / LM).write_bytes((f / LM).read_bytes()[:5000]),
        "state_dict.bin: not a readable",
    ),
    (
        lambda f: torch.save([1], f / CODEC),
        "compression_state_dict.bin: holds a list, not the dict",
    ),
    (
        lambda f: (f / CODEC).write_bytes(b"nothing"),
        "compression_state_dict.bin: is no file of torch.save: it begins with",
    ),
]


@pytest.mark.parametrize(
    ("break_it", "said"), EXPORT_FAULTS, ids=[said[:40] for _, said in EXPORT_FAULTS]
)
def test_faults_of_an_audiocraft_export_are_named(
    export: Path, break_it: Callable[[Path], object], said: str
) -> None:
    break_it(export)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(export))
    assert re.search(said, caught.value.message), caught.value.message


def edit_older_pattern(_: dict[str, Any], cfg: dict[str, Any]) -> None:
    cfg["codebooks_pattern"] = {"modeling": None, "delay": {"delays": [3, 2, 1, 0]}}
    cfg["transformer_lm"]["q_modeling"] = "delay"


def test_an_older_delay_configuration_has_the_plain_delays(export: Path) -> None:
    """AudioCraft leaves the section `delay` aside for `q_modeling`."""
    edit_export(LM, edit_older_pattern)(export)
    assert load_checkpoint(str(export)).musicgen.config.delays == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("cfg", "content"),
    [
        ({}, "music"),
        (
            {"solver": "musicgen", "sample_rate": 16000, "dataset": {"segment_duration": 10}},
            "music",
        ),
        ({"solver": "audiogen"}, "audio"),
        ({"solver": "sound_lm"}, "audio"),
        ({"sample_rate": 16000, "dataset": {"segment_duration": 10}}, "audio"),
        ({"sample_rate": 16000}, "music"),
        ({"sample_rate": 32000, "dataset": {"segment_duration": 10}}, "music"),
    ],
)
def test_an_audiogen_is_told_from_a_musicgen(
    export: Path, cfg: dict[str, Any], content: str
) -> None:
    edit_export(LM, lambda _, c: c.update(cfg))(export)
    assert load_checkpoint(str(export)).musicgen.config.content == content
