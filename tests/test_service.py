"""The whole service: HTTP, Ray Serve, the engine, the embedded model."""

import asyncio
import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import httpx
import numpy as np
import pytest
import ray
import soundfile
import yaml

from serve_app.launcher import Service
from tests.conftest import CONFIGS
from tools.demo import make_music
from tools.nano import analysis

GENERATIONS = "/v1/audio/generations"
SERVE = str(Path(sys.executable).parent / "serve")


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.url, timeout=120) as client:
        yield client


async def stats(client: httpx.AsyncClient) -> dict[str, Any]:
    """What the one replica is doing."""
    [replica] = (await client.get("/stats")).json()["models"]["nano"]
    return replica  # type: ignore[no-any-return]


async def until(client: httpx.AsyncClient, condition: Callable[[dict[str, Any]], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition(await stats(client)):
            pass


async def generate(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    response = await client.post(GENERATIONS, json=body)
    assert response.status_code == 200, response.text
    return response


def samples_of(content: bytes) -> np.ndarray[Any, Any]:
    samples, sample_rate = soundfile.read(io.BytesIO(content))
    assert sample_rate == 32_000
    return np.asarray(samples)


def test_serve_status_reports_running(service: Service) -> None:
    command = [SERVE, "status", "--address", str(service.dashboard_url)]
    status = yaml.safe_load(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
    )
    application = status["applications"]["musicgen"]
    assert application["status"] == "RUNNING"
    assert {name: d["status"] for name, d in application["deployments"].items()} == {
        "MusicGen:nano": "HEALTHY",
        "Ingress": "HEALTHY",
    }


async def test_music_comes_out(client: httpx.AsyncClient) -> None:
    response = await generate(client, prompt="lofi beat", duration_s=2, seed=7)
    samples = samples_of(response.content)
    assert len(samples) == 2 * 32_000
    assert samples.std() > 0.001
    assert response.headers["x-musicgen-seed"] == "7"
    assert response.headers["x-musicgen-model"] == "nano"
    assert float(response.headers["x-musicgen-generation-s"]) > 0
    assert response.headers.get_list("x-request-id")[1:] == [], "one id"


async def test_the_prompt_decides_what_is_heard(client: httpx.AsyncClient) -> None:
    """Register, tempo and mode. Most draws: now and then one goes astray, and not on every CPU the same one."""
    prompts = {"happy bells, driving drums, 140 bpm": 140, "sad bass, soft drums, 80 bpm": 80}
    answers = await asyncio.gather(
        *(
            generate(client, prompt=prompt, duration_s=8, seed=seed)
            for prompt in prompts
            for seed in range(4)
        )
    )
    heard = [samples_of(answer.content).astype(np.float32) for answer in answers]
    bells, bass = (
        [analysis.brightness(samples) for samples in half] for half in (heard[:4], heard[4:])
    )
    assert min(bells) > 1.3 * max(bass)
    tempos, asked = (
        [analysis.tempo(samples) for samples in heard],
        [bpm for bpm in prompts.values() for _ in range(4)],
    )
    assert sum(map(analysis.same_tempo, tempos, asked)) >= 7
    assert sum(map(analysis.same_tempo, tempos, reversed(asked))) <= 1, "the other prompt's"
    modes = [analysis.mode(samples) for samples in heard]
    assert modes[:4].count("major") + modes[4:].count("minor") >= 7


async def test_the_serverless_contract(client: httpx.AsyncClient) -> None:
    body = {
        "prompt": "lofi beat",
        "duration": 1,
        "temperature": 1.0,
        "model": "small",
        "decoder": "default",
    }
    response = await client.post("/", json=body)
    assert response.status_code == 200
    answer = response.json()
    content = base64.b64decode(answer["audio_base64"])
    assert len(samples_of(content)) == 32_000
    assert list(answer) == [
        "success", "audio_base64", "prompt", "model", "decoder", "duration", "sample_rate", "size_bytes",
        "generation_time_seconds", "format",
    ]  # fmt: skip
    assert (answer["success"], answer["model"], answer["duration"]) == (True, "nano", 1)
    assert answer["size_bytes"] == len(content)


async def test_the_local_contract(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/generate", json={"prompt": "lofi beat", "duration": 1, "model_size": "small"}
    )
    answer = response.json()
    assert list(answer) == ["success", "audio_base64", "prompt", "error", "metadata"]
    assert list(answer["metadata"]) == [
        "model", "model_size", "decoder", "duration", "sample_rate", "size_bytes", "generation_time_seconds",
        "framework", "device",
    ]  # fmt: skip
    assert answer["metadata"]["device"] == "cpu"
    assert (await client.get("/health")).json() == {
        "status": "healthy",
        "device": "cpu",
        "model_loaded": True,
    }


async def test_the_huggingface_contract(client: httpx.AsyncClient) -> None:
    body = {"inputs": "lofi beat", "parameters": {"max_new_tokens": 50}}
    response = await client.post("/models/facebook/musicgen-small", json=body)
    assert (response.status_code, response.headers["content-type"]) == (200, "audio/wav")
    assert len(samples_of(response.content)) == 32_000


def test_hugging_faces_own_client(service: Service) -> None:
    """In a process of its own: this one keeps it offline."""
    script = f"""if True:
        from huggingface_hub import InferenceClient
        from huggingface_hub.errors import BadRequestError
        client = InferenceClient(model="{service.url}/models/facebook/musicgen-small", timeout=60)
        print(len(client.text_to_speech("lofi beat", max_new_tokens=50, temperature=0.9)))
        try:
            client.text_to_speech("lofi beat", temperature=-1.0)
        except BadRequestError as error:
            print("temperature" in str(error))
        """
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == [str(44 + 2 * 32_000), "True"]


async def test_bad_requests_get_the_contracts_sentences(client: httpx.AsyncClient) -> None:
    response = await client.post("/", json={"prompt": "a", "model": "huge"})
    names = ["nano", "small", "medium", "large", "melody"]
    assert (response.status_code, response.json()) == (
        400,
        {"detail": f"Invalid model. Must be one of: {names}"},
    )


async def test_a_replicas_error_arrives_as_a_problem_without_a_traceback(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post(GENERATIONS, json={"prompt": "long " * 300, "duration_s": 1})
    assert (response.status_code, response.json()["code"]) == (400, "prompt_too_long")
    assert response.json()["detail"].endswith("but this model takes 256. Shorten the prompt.")
    response = await client.post(GENERATIONS, json={"prompt": "a", "duration_s": 121})
    assert (response.status_code, response.json()["code"]) == (400, "duration_too_long")


async def test_models_are_described(client: httpx.AsyncClient) -> None:
    [model] = (await client.get("/v1/models")).json()["data"]
    assert model == {
        "id": "nano",
        "object": "model",
        "aliases": ["small", "medium", "large", "melody"],
        "source": "embedded:musicgen-nano",
        "license": "Apache-2.0",
        "loaded": True,
        "sample_rate": 32000,
        "channels": 1,
        "max_duration_s": 120.0,
    }


async def test_concurrent_requests_share_steps_and_equal_lone_ones(
    client: httpx.AsyncClient,
) -> None:
    durations = [0.5 + 0.5 * i for i in range(4)]
    bodies = [
        {"prompt": f"beat {i}", "duration_s": duration, "seed": i}
        for i, duration in enumerate(durations)
    ]
    alone = [(await generate(client, **body)).content for body in bodies]
    before = (await stats(client))["steps_total"]
    together = await asyncio.gather(*(generate(client, **body) for body in bodies))
    await until(client, lambda s: s["slots_used"] == 0)
    steps = (await stats(client))["steps_total"] - before
    longest, total = (max(durations) * 50 + 3), sum(duration * 50 + 3 for duration in durations)
    assert longest <= steps < 1.7 * longest < total
    assert [response.content for response in together] == alone


async def test_a_stream_holds_what_the_whole_answer_holds(client: httpx.AsyncClient) -> None:
    body: dict[str, Any] = {"prompt": "lofi beat", "duration_s": 2, "seed": 7}
    whole = (await generate(client, **body)).content[44:]
    assert (await generate(client, **body, stream=True)).content[44:] == whole
    assert (await generate(client, **body, stream=True, response_format="pcm")).content == whole
    played = await client.get("/v1/audio/stream", params=body | {"response_format": "pcm"})
    assert played.content == whole


async def test_a_piece_goes_on_from_a_sound_and_beyond_the_window(
    client: httpx.AsyncClient,
) -> None:
    beginning = (await generate(client, prompt="bells", duration_s=1.5, seed=3)).content
    form = {"prompt": "bells", "duration_s": "31", "seed": "3", "stream": "true"}
    response = await client.post(
        GENERATIONS, data=form, files={"audio_prompt": ("beginning.wav", beginning)}
    )
    assert response.status_code == 200
    samples = np.frombuffer(response.content[44:], np.int16)
    assert len(samples) == 31 * 32_000
    body = {"audio_prompt": base64.b64encode(beginning).decode(), "duration_s": 1}
    refused = await client.post(GENERATIONS, json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
    assert "The audio prompt lasts 1.5 seconds" in refused.json()["detail"]


async def test_headers_have_a_limit(client: httpx.AsyncClient) -> None:
    response = await client.get("/health", headers={"x-long": "a" * 1_000_000})
    assert (response.status_code, response.json()["code"]) == (431, "headers_too_large")
    assert (await client.get("/health")).status_code == 200


async def test_audio_comes_while_it_is_being_made(client: httpx.AsyncClient) -> None:
    body = {"prompt": "lofi beat", "duration_s": 8, "stream": True, "response_format": "mp3"}
    started_at, first_at = perf_counter(), None
    async with client.stream("POST", GENERATIONS, json=body) as response:
        async for _ in response.aiter_bytes():
            first_at = first_at or perf_counter()
    assert first_at is not None
    assert first_at - started_at < (perf_counter() - started_at) / 3


async def test_events_say_how_far_the_music_is(client: httpx.AsyncClient) -> None:
    body = {
        "prompt": "lofi beat",
        "duration_s": 4,
        "seed": 7,
        "response_format": "pcm",
        "stream": True,
    }
    response = await generate(client, **body, stream_format="sse")
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in response.text.strip().split("\n\n")]
    events = [
        (name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for name, data in blocks
    ]
    fractions = [data["fraction"] for name, data in events if name == "progress"]
    assert fractions == sorted(fractions)
    assert 0 < fractions[-1] <= 1
    content = b"".join(base64.b64decode(data["audio"]) for name, data in events if name == "audio")
    assert len(content) == 4 * 32_000 * 2
    assert (events[-1][0], events[-1][1]["seed"], events[-1][1]["model"]) == ("done", 7, "nano")


async def test_a_listener_that_goes_away_frees_its_slot(client: httpx.AsyncClient) -> None:
    query: dict[str, Any] = {"prompt": "a", "duration_s": 30}
    async with client.stream("GET", "/v1/audio/stream", params=query) as response:
        async for _ in response.aiter_bytes():
            await until(client, lambda s: s["slots_used"] == 1)
            break
    left_at = perf_counter()
    await until(client, lambda s: s["slots_used"] == 0)
    assert perf_counter() - left_at < 1.0


async def test_more_requests_than_slots_all_answer(client: httpx.AsyncClient) -> None:
    responses = await asyncio.gather(
        *(generate(client, prompt="beat", duration_s=0.5, seed=i) for i in range(20))
    )
    assert len({response.content for response in responses}) == 20


async def test_the_prompt_changes_the_music(client: httpx.AsyncClient) -> None:
    one, other = [
        await generate(client, prompt=p, duration_s=0.5, seed=1)
        for p in ("calm piano", "loud drums")
    ]
    assert one.content != other.content


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (GENERATIONS, {"prompt": "a", "duration_s": 30}),
        ("/", {"prompt": "a"}),
        ("/generate", {"prompt": "a"}),
        ("/models/x/nano", {"inputs": "a"}),
    ],
)
async def test_a_client_that_goes_away_frees_its_slot(
    client: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    request = asyncio.create_task(client.post(path, json=body))
    await until(client, lambda s: s["slots_used"] == 1)
    request.cancel()
    left_at = perf_counter()
    await until(client, lambda s: s["slots_used"] == 0)
    assert perf_counter() - left_at < 1.0


async def test_a_full_queue_refuses_and_recovers(service: Service) -> None:
    """240 callers at once: an hour of music may wait, the others are told to come back."""
    limits = httpx.Limits(max_connections=300)
    async with httpx.AsyncClient(base_url=service.url, timeout=120, limits=limits) as client:
        body = {"prompt": "a", "duration_s": 30}
        callers = {asyncio.create_task(client.post(GENERATIONS, json=body)) for _ in range(240)}
        refused: set[asyncio.Task[httpx.Response]] = set()
        async with asyncio.timeout(60):
            while len(refused) < 31:
                done, callers = await asyncio.wait(callers, return_when=asyncio.FIRST_COMPLETED)
                refused |= done
        answers = [task.result() for task in refused]
        assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {
            (429, "queue_full")
        }
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
        for caller in callers:
            caller.cancel()
        await until(client, lambda s: s["slots_used"] == 0)
        assert (
            len(samples_of((await generate(client, prompt="a", duration_s=0.5)).content)) == 16_000
        )


def test_the_demo_makes_its_file(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_music(service.url, "lofi beat", 1.0, 7, tmp_path / "demo.wav")
    assert len(samples_of((tmp_path / "demo.wav").read_bytes())) == 32_000
    said = capsys.readouterr().out
    for word in (
        "file",
        "model             nano",
        "seed              7",
        "1.0 s",
        "generation time",
        "real-time factor",
    ):
        assert word in said


def test_a_running_replica_has_not_imported_audiocraft(service: Service) -> None:
    raylet = next(process for process in service.processes() if "raylet" in process.name())
    [address] = [
        part.partition("=")[2] for part in raylet.cmdline() if part.startswith("--gcs-address=")
    ]
    ray.init(address=address, namespace="serve", log_to_driver=False, configure_logging=False)
    try:
        [name] = [
            actor["name"]
            for actor in ray.util.list_named_actors(all_namespaces=True)
            if "MusicGen" in actor["name"]
        ]
        modules = ray.get(
            ray.get_actor(name).__ray_call__.remote(lambda _: list(__import__("sys").modules))
        )
    finally:
        ray.shutdown()
    assert "torch" in modules
    assert "serve_app.engine.engine" in modules
    assert not {"audiocraft", "spacy", "librosa", "xformers"} & set(modules)


def test_serve_deploy_updates_the_running_service(service: Service, tmp_path: Path) -> None:
    """From here on the model answers to other names, and has up to three replicas within a budget of two."""
    config = yaml.safe_load((CONFIGS / "nano.yaml").read_text())
    config["http_options"]["port"] = service.port
    application = config["applications"][0]
    application["autoscaling_policy"] = {
        "policy_function": "serve_app.deployments.autoscaling:BudgetPolicy",
        "policy_kwargs": {"gpus": 2, "drain_s": 0.01},
    }
    [model] = application["args"]["models"]
    model["aliases"] = ["mini"]
    del model["deployment_config"]["num_replicas"]
    model["deployment_config"]["ray_actor_options"] = {"num_cpus": 0.5}
    model["deployment_config"]["autoscaling_config"] = {
        "min_replicas": 1, "max_replicas": 3, "upscale_delay_s": 0.1, "look_back_period_s": 1,
    }  # fmt: skip
    (tmp_path / "changed.yaml").write_text(yaml.safe_dump(config))
    command = [
        SERVE,
        "deploy",
        str(tmp_path / "changed.yaml"),
        "--address",
        str(service.dashboard_url),
    ]
    subprocess.run(command, check=True, capture_output=True)
    with httpx.Client(base_url=service.url, timeout=120) as client:
        deadline = monotonic() + 120
        while (
            "mini" not in client.get("/v1/models").text
            or service.application().get("status") != "RUNNING"
        ):
            assert monotonic() < deadline
        response = client.post(
            GENERATIONS, json={"prompt": "beat", "duration_s": 0.5, "model": "mini"}
        )
        assert (response.status_code, response.headers["x-musicgen-model"]) == (200, "nano")
        response = client.post("/", json={"prompt": "a", "model": "small"})
        assert response.json() == {"detail": "Invalid model. Must be one of: ['nano', 'mini']"}


async def test_models_scale_within_the_budget_of_the_application(
    service: Service, client: httpx.AsyncClient
) -> None:
    """Last in this file: after the update above. Serve's own policy would not scale for so few requests."""
    body = {"prompt": "beat", "duration_s": 120}
    music = [asyncio.create_task(client.post(GENERATIONS, json=body)) for _ in range(4)]
    targets, replicas = {1}, 1
    async with asyncio.timeout(60):
        while replicas < 2:
            model = await asyncio.to_thread(model_of, service)
            replicas = len(model["replicas"])
            targets.add(model["target_num_replicas"])
    for request in music:
        request.cancel()
    assert targets == {1, 2}


def model_of(service: Service) -> dict[str, Any]:
    return service.application()["deployments"]["MusicGen:nano"]  # type: ignore[no-any-return]
