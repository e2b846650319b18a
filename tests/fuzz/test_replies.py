"""Server replies: each is an answer that can be stored and graded, or a failure with a message."""

from __future__ import annotations

import json
import math
import random
import unicodedata
from pathlib import Path

import pytest

from extract.answers.failure import Failure
from extract.answers.reply import read_reply
from extract.answers.request import Response
from tests.fuzz.mutations import json_bytes, mutate_bytes, mutate_json
from tests.fuzz.rounds import ROUNDS, repeated
from tests.fuzz.watch import make_canary, watched

WHOLE = {
    "id": "x",
    "object": "chat.completion",
    "model": "large",
    "system_fingerprint": "f",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "The answer is B.", "refusal": None, "tool_calls": None},
            "logprobs": {"content": [{"token": "B", "logprob": -0.1, "top_logprobs": []}]},
        }
    ],
    "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15},
}
TEXTS = ["\x1b]0;title\x07B", "\ud83dB", "B\x00", "\u202eB", "\x9b31mB", "B" * 100_000, "\r\nB", "B\u2028C", "\x7f"]


@pytest.mark.parametrize("examples", ROUNDS)
def test_a_changed_reply_is_an_answer_or_a_failure(tmp_path, examples):
    outside: Path = make_canary(tmp_path)

    def attempt(rng: random.Random) -> None:
        reply = json.loads(json.dumps(WHOLE))
        if rng.random() < 0.3:
            reply["choices"][0]["message"]["content"] = rng.choice(TEXTS)
        data = json_bytes(mutate_json(reply, rng, outside))
        if rng.random() < 0.2:
            data = mutate_bytes(data, rng)
        with watched(outside):
            try:
                response = read_reply(data, {"retry-after": rng.choice(["", "nan", "-1", "9" * 400])})
            except Failure:
                return
            require_storable(response)

    repeated(attempt, examples)


def require_storable(response: Response) -> None:
    """Check that the cache returns the answer, the table accepts it, and a terminal may show it."""
    assert Response.parse(response.dump()) == response
    assert not [c for c in response.text if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t\r"]
    response.text.encode()
    for count in (response.prompt_tokens, response.completion_tokens):
        assert count is None or (type(count) is int and 0 <= count < 2**31)
    assert all(math.isfinite(value) for value in response.token_logprobs or ())
