"""The error at the root of a traceback, and of the output of a process."""

import pytest

from serve_app.launch.root_error import last_error, root_error, strip_ansi

REPLICA = """A replica failed to start with exception. Retrying 2 more time(s). Error:
\x1b[36mray::ServeReplica:musicgen:MusicGen:nano.initialize_and_get_metadata()\x1b[39m (pid=19228, ip=127.0.0.1)
  File "/usr/lib/python3.11/concurrent/futures/_base.py", line 449, in result
    return self.__get_result()
           ^^^^^^^^^^^^^^^^^^^
  File "/site-packages/ray/serve/_private/replica.py", line 1928, in initialize
    raise RuntimeError(traceback.format_exc()) from None
RuntimeError: Traceback (most recent call last):
  File "/site-packages/ray/serve/_private/replica.py", line 1867, in initialize
    await self._user_callable_wrapper.initialize_callable()
FileNotFoundError: [Errno 2] No such file or directory: '/x/config.json'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/srv/serve_app/checkpoints/huggingface.py", line 87, in read_config
    raise CheckpointError(
"""
VALIDATION = """2026-11-26 00:25:03,766\tINFO scripts.py:489 -- Running config file: 'x.yaml'.
Traceback (most recent call last):
  File "/venv/bin/serve", line 8, in <module>
    sys.exit(cli())
             ^^^^^
pydantic_core._pydantic_core.ValidationError: 1 validation error for ServeDeploySchema
proxy_location
  Input should be 'Disabled', 'HeadOnly' or 'EveryNode' [type=enum, input_value='Nowhere', input_type=str]
    For further information visit https://errors.pydantic.dev/2.14/v/enum
\x1b[36m(ServeController pid=20064)\x1b[0m INFO 2026-11-26 00:12:34,918 controller 20064 -- Later line
"""


def test_an_own_error_stands_alone() -> None:
    text = REPLICA + "serve_app.errors.CheckpointError: /x/config.json: the file is missing"
    assert root_error(text) == "/x/config.json: the file is missing"


def test_another_error_keeps_its_name() -> None:
    text = REPLICA + "torch.cuda.OutOfMemoryError: CUDA out of memory.\nTried to allocate 2 GiB."
    assert root_error(text) == ("OutOfMemoryError: CUDA out of memory.\nTried to allocate 2 GiB.")


def test_an_error_without_a_message_is_its_name() -> None:
    assert root_error(f"{REPLICA}builtins.KeyboardInterrupt") == "KeyboardInterrupt"


def test_a_traceback_that_breaks_off_gives_its_last_line() -> None:
    assert root_error(REPLICA) == "    raise CheckpointError("


@pytest.mark.parametrize("text", ["The actor died: worker killed.", "two\nlines", ""])
def test_text_without_a_traceback_stays(text: str) -> None:
    assert root_error(text) == text


def test_long_text_is_shortened() -> None:
    assert root_error("\n".join("0123456789")).count("\n") == 7
    assert len(root_error("x" * 5000)) == len("x" * 1000 + " ...")


def test_the_last_traceback_of_an_output_counts() -> None:
    first = 'Traceback (most recent call last):\n  File "x", line 1, in y\nValueError: first\n'
    assert last_error(first + VALIDATION) == (
        "ValidationError: 1 validation error for ServeDeploySchema\nproxy_location\n  Input should be "
        "'Disabled', 'HeadOnly' or 'EveryNode' [type=enum, input_value='Nowhere', input_type=str]"
    )


def test_an_output_without_a_traceback_has_no_error() -> None:
    assert last_error("2026-11-26 INFO started\n") is None


def test_colours_are_removed() -> None:
    assert strip_ansi("\x1b[36m(x)\x1b[0m \x1b[1;32my\x1b[39m") == "(x) y"
