"""`musicgen watch-preemption` asks the metadata service until it is stopped."""

import signal
import subprocess
import sys

from tests.cli.conftest import Run
from tests.node.metadata_service import metadata_service


def test_a_node_needs_its_address(run: Run) -> None:
    result = run("watch-preemption", "gcp", "--node-id", "ab")
    assert result.exit_code == 2
    assert "--node-id and --address need each other" in result.stderr


def test_a_notice_without_a_node_is_tried_again_until_the_signal() -> None:
    program = [sys.executable, "-m", "serve_app.cli.app", "watch-preemption"]
    with metadata_service() as service:
        service.values["/computeMetadata/v1/instance/preempted"] = "TRUE"
        options = ["--metadata", service.url, "--node-id", "ab", "--address", "127.0.0.1:1"]
        process = subprocess.Popen(
            [*program, "gcp", "--period", "0.1", *options], stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert next(lines) == "Watching for notices of gcp.\n"
        faults = (line for line in lines if "`ray drain-node` failed" in line)
        assert next(faults, None), "the watch has ended"
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 0
