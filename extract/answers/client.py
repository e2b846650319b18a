"""The HTTP client of a server. It lists everything that leaves this machine and limits what comes back."""

from __future__ import annotations

import functools
import os
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import openai

from extract.answers.failure import Failure
from extract.spec import AnswerSpec
from relope_jax.errors import ReLopeError
from relope_jax.io.limits import Limit

AZURE_VERSION = "api-version"  # the query parameter that identifies Azure's addresses
NO_KEY = "none"  # the client requires a key; servers without keys ignore it
OPENAI = "api.openai.com"  # and its regions, such as eu.api.openai.com
LARGEST_REPLY = Limit("RELOPE_MAX_REPLY_MB", 16)  # one reply; in memory it takes up to 20 times as much
# All headers that a server gets. OpenAI's own servers also get what the client reads from OPENAI_* variables.
SENT = {
    "host",
    "accept",
    "accept-encoding",
    "connection",
    "user-agent",
    "content-type",
    "content-length",
    "authorization",
    "api-key",
    "x-stainless-raw-response",  # the last says how the client reads the reply
}
# A server on this machine is never reached through a proxy.
LOOPBACK = {f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")}


def make_client(spec: AnswerSpec, key: str) -> openai.OpenAI:
    """The client of a server. The query of its address is added to every request. Redirects are not followed: they
    would turn a question into a GET and could send the key to another host."""
    url = urllib.parse.urlsplit(spec.base_url)
    hooks: dict[str, list[Callable[..., Any]]] = {"response": [functools.partial(_bound, timeout=spec.timeout)]}
    if not _is_openai(url):
        # Azure expects the key in its own header, other servers with such an address in the usual one: send both.
        own = {"api-key": key} if key and is_azure(spec.base_url) else {}
        hooks["request"] = [functools.partial(_send_only, own={"authorization": f"Bearer {key or NO_KEY}"} | own)]
    return openai.OpenAI(
        api_key=key or NO_KEY,
        base_url=url._replace(query="").geturl(),
        default_query=dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True)),
        timeout=spec.timeout,
        max_retries=0,
        http_client=openai.DefaultHttpxClient(
            follow_redirects=False, timeout=spec.timeout, event_hooks=hooks, mounts=LOOPBACK
        ),
    )


def read_key(spec: AnswerSpec) -> str:
    """The key from the environment, or ""; raises ReLopeError when the value cannot be a key."""
    key = os.environ.get(spec.key_env, "").strip() if spec.key_env else ""
    if not (key.isascii() and key.isprintable()):
        raise ReLopeError(
            f"the environment variable {spec.key_env} holds no valid key: some of its characters are in no key"
        )
    return key


def is_azure(base_url: str) -> bool:
    """Whether an address is Azure's, or that of a server that imitates Azure."""
    return AZURE_VERSION in urllib.parse.parse_qs(urllib.parse.urlsplit(base_url).query)


def _is_openai(url: urllib.parse.SplitResult) -> bool:
    host = (url.hostname or "").lower()
    return url.scheme == "https" and (host == OPENAI or host.endswith(f".{OPENAI}"))


def _send_only(request: Any, own: dict[str, str]) -> None:
    """Before a request is sent, remove every header that is neither listed nor in `own`."""
    for name in set(request.headers) - SENT | {"authorization", "api-key"}:
        request.headers.pop(name, None)
    request.headers.update(own)


def _bound(response: Any, timeout: float) -> None:
    """Before a body is read, of an answer or an error, limit its size and its time."""
    response.iter_bytes = functools.partial(_bounded, response.iter_bytes, timeout)


def _bounded(read: Callable[..., Iterable[bytes]], timeout: float, *args: Any, **options: Any) -> Iterator[bytes]:
    """The chunks of a body. Some servers keep a dead request open by sending a space now and then."""
    size, largest, end = 0, LARGEST_REPLY.bytes, time.monotonic() + timeout
    for piece in read(*args, **options):
        size += len(piece)
        if time.monotonic() > end:
            raise Failure(f"the reply did not end within {timeout:g} seconds")
        if size > largest:
            raise Failure(f"the reply is longer than {largest} bytes (RELOPE_MAX_REPLY_MB)")
        yield piece
