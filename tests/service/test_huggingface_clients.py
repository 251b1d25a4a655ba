"""Hugging Face's own client for Python against the running service."""

import os
import subprocess
import sys

from serve_app.launcher import Service

REPOSITORY = "/models/facebook/musicgen-small"
ONE_SECOND = 2 * 32_000  # bytes of its samples
MOST_HEADER_BYTES = 4000


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
        root = InferenceClient(base_url="{service.url}", timeout=60)
        print(len(root.text_to_speech("lofi beat", max_new_tokens=50)))
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
    assert [0 < int(size) - ONE_SECOND < MOST_HEADER_BYTES for size in sizes] == [True] * 3
    assert (first, second) == ("True", "True")
