"""Whether the model hub can be reached, answered within seconds."""

import os
import threading

import httpx

DEFAULT_ENDPOINT = "https://huggingface.co"
_TRUE = ("1", "ON", "YES", "TRUE")  # as the hub's library reads them
_PATIENCE_S = 4.0


def hub_endpoint() -> str:
    """Return the hub's URL: HF_ENDPOINT, or the public hub."""
    return os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT


def hub_is_reachable(patience_s: float = _PATIENCE_S) -> bool:
    """Ask the hub for an answer, for at most `patience_s` seconds. A proxy's 5xx is none.

    With HF_HUB_OFFLINE the hub is not asked.

    The request runs in a thread of its own, because no time-out bounds the resolution of a name.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE:
        return False
    answered = threading.Event()
    done = threading.Event()
    threading.Thread(target=_ask, args=(patience_s, answered, done), daemon=True).start()
    done.wait(patience_s)
    return answered.is_set()


def _ask(patience_s: float, answered: threading.Event, done: threading.Event) -> None:
    try:
        if not httpx.head(hub_endpoint(), timeout=patience_s).is_server_error:
            answered.set()
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
        pass
    finally:
        done.set()
