"""Options of a Serve configuration file outside of `args`. Serve ignores unknown ones, so that a slip is never seen."""

import difflib
from collections.abc import Iterator
from typing import Any

# The fields of ray.serve.schema.ServeDeploySchema, ServeApplicationSchema and HTTPOptionsSchema,
# which a launcher must not import: that takes seconds. A test compares them.
TOP_LEVEL = frozenset(
    {
        "applications", "controller_options", "grpc_options", "http_options", "logging_config",
        "proxy_location", "target_capacity", "tracing_config",
    }
)  # fmt: skip
APPLICATION = frozenset(
    {
        "args", "autoscaling_policy", "deployments", "external_scaler_enabled", "host",
        "import_path", "logging_config", "name", "port", "route_prefix", "runtime_env",
    }
)  # fmt: skip
HTTP_OPTIONS = frozenset(
    {
        "host", "keep_alive_timeout_s", "port", "request_timeout_s", "root_path", "ssl_ca_certs",
        "ssl_certfile", "ssl_keyfile", "ssl_keyfile_password",
    }
)  # fmt: skip


def faults(content: object) -> list[str]:
    """List the unknown options of a configuration, and the sections that are of another kind."""
    if not isinstance(content, dict) or "applications" not in content:
        return ["it has no 'applications'"]
    return [*_section("", content, TOP_LEVEL), *_http_options(content), *_applications(content)]


def _http_options(content: dict[str, Any]) -> Iterator[str]:
    if (options := content.get("http_options")) is not None:
        yield from _section("http_options", options, HTTP_OPTIONS)


def _applications(content: dict[str, Any]) -> Iterator[str]:
    applications = content["applications"]
    if not isinstance(applications, list) or not applications:
        yield "applications: must be a list with at least one application"
        return
    for index, application in enumerate(applications):
        yield from _section(f"applications[{index}]", application, APPLICATION)


def _section(path: str, section: object, options: frozenset[str]) -> Iterator[str]:
    if not isinstance(section, dict):
        yield f"{path}: must be a mapping of options, but it is {section!r}"
        return
    for name in map(str, section):
        if name not in options:
            alike = difflib.get_close_matches(name, sorted(options), n=1)
            hint = f" Did you mean {alike[0]}?" if alike else ""
            yield f"{path}{'.' if path else ''}{name}: unknown option.{hint}"
