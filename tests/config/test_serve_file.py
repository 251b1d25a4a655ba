"""Reading of a Serve configuration: faults are named with their place."""

from pathlib import Path

import pytest

from serve_app.config.serve_file import ServeConfigError, read_serve_config
from tests.conftest import CONFIGS


def test_a_configuration_is_read() -> None:
    assert read_serve_config(CONFIGS / "nano.yaml")["applications"][0]["name"] == "musicgen"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not a readable YAML file: no such file or directory. This package has"),
        (b"a: [", "is not a readable YAML file: line 1, column 5: "),
        (b"\xff\xfe\x00", "is not a readable YAML file: it is not text"),
        (b"\x01", "is not a readable YAML file: it is not text"),
        (b"a: 1", "is not a Serve configuration:\n- it has no 'applications'\nSee"),
        (b"applications: [{}]\nhttp_option: 1", "- http_option: unknown option. Did you mean"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    file = tmp_path / "config.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ServeConfigError) as caught:
        read_serve_config(file)
    assert str(caught.value).startswith(str(file))
    assert message in str(caught.value)
