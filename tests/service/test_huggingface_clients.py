"""Hugging Face's own clients, for Python and for JavaScript, against the running service."""

import json
import os
import subprocess
import sys
from pathlib import Path

from serve_app.launcher import Service

FOLDER = Path(__file__).parent / "huggingface_js"
DENO = str(Path(sys.executable).parent / "deno")
REPOSITORY = "/models/facebook/musicgen-small"
ONE_SECOND = 2 * 32_000  # bytes of its samples
MOST_HEADER_BYTES = 4000


def test_the_client_for_javascript(service: Service) -> None:
    command = [
        DENO, "run", "--frozen", "--config", str(FOLDER / "deno.json"), "--allow-net=127.0.0.1",
        "--allow-env", str(FOLDER / "client.ts"), service.url + REPOSITORY,
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    answer = json.loads(run.stdout)
    assert 0 < answer["bytes"] - ONE_SECOND < MOST_HEADER_BYTES
    assert answer["refused"] is True


def test_the_client_for_python(service: Service) -> None:
    """In a process of its own: this one keeps it offline."""
    script = f"""if True:
        from huggingface_hub import InferenceClient
        from huggingface_hub.errors import BadRequestError
        client = InferenceClient(model="{service.url}{REPOSITORY}", timeout=60)
        more = dict(min_new_tokens=10, use_cache=True, early_stopping="never", num_beams=1)
        print(len(client.text_to_speech("lofi beat", max_new_tokens=50, temperature=0.9, **more)))
        nested = dict(generation_parameters=dict(max_length=51, penalty_alpha=None))
        print(len(client.text_to_speech("lofi beat", extra_body=nested)))
        for refused in (dict(temperature=-1.0), dict(num_beams=4)):
            try:
                client.text_to_speech("lofi beat", **refused)
            except BadRequestError as error:
                print(f"parameters.{{list(refused)[0]}}" in str(error))
        """
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    *sizes, first, second = run.stdout.split()
    assert [0 < int(size) - ONE_SECOND < MOST_HEADER_BYTES for size in sizes] == [True, True]
    assert (first, second) == ("True", "True")
