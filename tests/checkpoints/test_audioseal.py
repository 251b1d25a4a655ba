"""AudioSeal's published files are converted without running them, and equal its own package."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from serve_app.checkpoints.audioseal import convert, load_detector, load_generator
from serve_app.checkpoints.watermark_file import Network
from serve_app.errors import CheckpointError
from serve_app.models.audioseal.chain import ChainState
from serve_app.models.audioseal.detector import DetectionStream
from serve_app.models.audioseal.generator import bits_of
from tests.audioseal import MESSAGE, configuration, make, package, published_state, write_published

CPU = torch.device("cpu")
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """A generator's weights by the published names."""
    return published_state(make("generator"))


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory, state: State) -> Path:
    folder = tmp_path_factory.mktemp("generator")
    torch.save({"xp.cfg": configuration("generator", False), "model": state}, folder / "g.pth")
    convert(folder / "g.pth", folder / "g.safetensors")
    return folder / "g.safetensors"


def expect_refused(file: Path, content: Any, match: str, **options: Any) -> None:
    torch.save(content, file)
    with pytest.raises(CheckpointError, match=match) as refused:
        convert(file, file.with_suffix(".out"), **options)
    assert str(file) in refused.value.message
    assert not file.with_suffix(".out").exists()


@pytest.mark.parametrize("causal", [False, True])
def test_a_generator_equals_the_packages_own(tmp_path: Path, causal: bool) -> None:
    file = tmp_path / "generator.pth"
    write_published(file, "generator", causal)
    oracle = package().AudioSeal.load_generator(str(file)).eval()
    facts = convert(file, tmp_path / "out" / "g.safetensors")
    assert facts.network is Network.GENERATOR
    assert facts.causal is causal
    generator = load_generator(tmp_path / "out" / "g.safetensors", CPU)
    audio = torch.randn(2, 1, 3200)
    with torch.inference_mode():
        expected = oracle.get_watermark(audio, message=bits_of(MESSAGE))
    made = generator.chain(MESSAGE).advance(audio, ChainState(), True)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-5)


def test_a_detector_equals_the_packages_own(tmp_path: Path) -> None:
    file = tmp_path / "detector.pth"
    write_published(file, "detector")
    oracle = package().AudioSeal.load_detector(str(file)).eval()
    assert convert(file, tmp_path / "d.safetensors").network is Network.DETECTOR
    detector = load_detector(tmp_path / "d.safetensors", CPU)
    audio = torch.randn(1, 6400)
    with torch.inference_mode():
        result, message = oracle(audio[None])
    stream = DetectionStream(detector)
    stream.add(audio)
    found = stream.finish()
    assert found.score == pytest.approx(float((result[:, 1] > 0.5).float().mean()), abs=1e-3)
    assert bits_of(found.message).tolist() == (message[0] > 0.5).int().tolist()


def test_weights_saved_by_version_0_2_are_read(tmp_path: Path, converted: Path) -> None:
    """The package itself does not load what it saves: its renaming hits `inner_conv`."""
    content = {
        "xp.cfg": configuration("generator", False),
        "model": make("generator").state_dict(),
    }
    torch.save(content, tmp_path / "g.pth")
    with pytest.raises(RuntimeError, match="inner_conv"):
        package().AudioSeal.load_generator(str(tmp_path / "g.pth"))
    convert(tmp_path / "g.pth", tmp_path / "g.safetensors")
    again = load_file(tmp_path / "g.safetensors")
    for name, tensor in load_file(converted).items():
        torch.testing.assert_close(again[name], tensor, rtol=0, atol=1e-6)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (ran,))

    expect_refused(tmp_path / "g.pth", {"xp.cfg": Hostile(), "model": {}}, "not a readable PyTorch")
    assert not ran.exists()


def test_a_file_without_its_variant_needs_to_be_told(tmp_path: Path, state: State) -> None:
    expect_refused(tmp_path / "g.pth", {"model": state}, "Give --causal")
    assert convert(tmp_path / "g.pth", tmp_path / "g.safetensors", causal=True).causal
    content = {"xp.cfg": json.dumps(configuration("generator", False)), "model": state}
    expect_refused(tmp_path / "h.pth", content, "says causal: false", causal=True)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"msg_processor.msg_processor.weight": None}, "msg_processor.weight' is missing"),
        ({"msg_processor.msg_processor.weight": torch.zeros(34, 128)}, "needs \\(32, 128\\)"),
        ({"msg_processor.msg_processor.weight": torch.full((32, 128), torch.nan)}, "not finite"),
        ({"more.weight": torch.zeros(1)}, "unexpected tensors 'more.weight'"),
        ({"more.weight": torch.zeros(1).expand(2**40)}, "without a value of its own"),
        ({"more.weight": torch.zeros(2**24 + 1, dtype=torch.float16)}, "which no AudioSeal has"),
        ({"more.weight": "text"}, "no named tensors"),
    ],
)
def test_other_tensors_are_refused(
    tmp_path: Path, state: State, changes: dict[str, Any], match: str
) -> None:
    changed = {n: v for n, v in (dict(state) | changes).items() if v is not None}
    content = {"xp.cfg": configuration("generator", False), "model": changed}
    expect_refused(tmp_path / "g.pth", content, match)


@pytest.mark.parametrize(
    ("path", "value"), [("nbits", 32), ("seanet.dimension", 2**30), ("seanet.ratios", [8, 5, 4])]
)
def test_another_architecture_is_refused(
    tmp_path: Path, state: State, path: str, value: object
) -> None:
    content = configuration("generator", False)
    section, _, name = path.rpartition(".")
    (content[section] if section else content)[name] = value
    expect_refused(tmp_path / "g.pth", {"xp.cfg": content, "model": state}, f"{path} is")


def test_a_converted_file_is_checked_when_it_is_loaded(tmp_path: Path, converted: Path) -> None:
    with pytest.raises(CheckpointError, match="its detector is needed"):
        load_detector(converted, CPU)
    tensors = load_file(converted)
    tensors.pop("msg_processor.msg_processor.weight")
    save_file(tensors, tmp_path / "g.safetensors", {"network": "generator", "causal": "false"})
    with pytest.raises(CheckpointError, match=r"msg_processor\.weight' is missing"):
        load_generator(tmp_path / "g.safetensors", CPU)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(converted.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_generator(cut, CPU)
