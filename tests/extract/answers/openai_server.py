"""A small OpenAI-compatible server in a separate process: python tests/extract/answers/openai_server.py

Prints its port. It answers with the colour in the middle of the first image, or repeats the text after "Say" in a
question without an image; with a temperature, odd seeds answer "purple". POST /control sets faults and resets the
counters, GET /stats reads them. /openai/deployments/NAME is Azure's address for the same: with an api-version in the
query and the key in the header "api-key".
"""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

COLOURS = {(255, 0, 0): "red", (0, 255, 0): "green", (0, 0, 255): "blue"}
MODELS = ["toy-large", "toy-small"]
FAULTS = {
    "statuses": [],  # of the first requests, before any answer
    "code": None,  # the code of an error
    "retry_after": None,  # header of these errors
    "hang": 0,  # number of first requests without an answer for 2.5 seconds
    "drop": 0,  # number of first requests whose connection is dropped
    "delay": 0.0,  # seconds per answer
    "refuse": None,  # questions with this text get 400
    "break": None,  # questions with this text get 500, always
    "key": None,  # the required key
    "echo": False,  # errors repeat the key
    "body": None,  # sent instead of a completion
    "raw": None,  # the same as raw bytes: {"status", "headers", "text" or "base64", "cut": length in bytes}
    "patch": None,  # replaces fields of a completion: {"reply", "choice", "message"}; REMOVED removes one
    "only": "",  # raw and patch only apply to questions with this text
    "times": None,  # and only this many times
    "logprobs": True,
    "usage": True,
}


AZURE = "/openai/deployments/"
REMOVED = "__removed__"


class Server(ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.reset({})

    def handle_error(self, request: object, address: object) -> None:
        """Ignore clients that are gone, which some tests are about."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, address)

    def reset(self, faults: dict) -> None:
        with self.lock:
            self.faults = json.loads(json.dumps(FAULTS | faults))
            self.stats = {"requests": 0, "answered": 0, "in_flight": 0, "max_in_flight": 0, "bodies": [], "keys": [],
                          "paths": [], "api_keys": [], "headers": []}  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/stats":
            self.reply(200, self.server.stats)
        elif self.path == "/v1/models":
            self.reply(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]})
        else:
            self.reply(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/control":
            self.server.reset(body)
            self.reply(200, {})
        elif self.is_chat():
            stats = self.count(body)
            try:
                self.complete(body, stats)
            finally:
                with self.server.lock:
                    stats["in_flight"] -= 1  # the counters from its start: a hung request may outlive them
        else:
            self.reply(404, {"detail": "Not Found"})

    def is_chat(self) -> bool:
        path, _, query = self.path.partition("?")
        if path.startswith(AZURE):
            return path.endswith("/chat/completions") and "api-version=" in query
        return path == "/v1/chat/completions"

    def has_key(self, key: str) -> bool:
        if self.path.startswith(AZURE):
            return self.headers["api-key"] == key
        return self.headers["Authorization"] == f"Bearer {key}"

    def count(self, body: dict) -> dict:
        with self.server.lock:
            stats = self.server.stats
            stats["requests"] += 1
            stats["in_flight"] += 1
            stats["max_in_flight"] = max(stats["max_in_flight"], stats["in_flight"])
            stats["bodies"].append(body)
            stats["keys"].append(self.headers["Authorization"])
            stats["paths"].append(self.path)
            stats["api_keys"].append(self.headers["api-key"])
            stats["headers"].append({name.lower(): value for name, value in self.headers.items()})
            return stats

    def take(self, fault: str) -> bool:
        """Whether this request is among the first ones that the fault applies to."""
        with self.server.lock:
            self.server.faults[fault] -= 1
            return self.server.faults[fault] >= 0

    def complete(self, body: dict, stats: dict) -> None:
        faults = self.server.faults
        text, images = read(body["messages"][0]["content"])
        if faults["key"] and not self.has_key(faults["key"]):
            return self.fail(401, f"Incorrect API key provided: {self.headers['Authorization']}")
        if body["model"] not in MODELS:
            return self.fail(404, f"The model `{body['model']}` does not exist.")
        with self.server.lock:
            status = faults["statuses"].pop(0) if faults["statuses"] else None
        if status:
            return self.fail(status, f"made to fail with {status}")
        if self.take("hang"):
            time.sleep(2.5)
        if self.take("drop"):
            self.close_connection = True
            return self.connection.close()
        time.sleep(faults["delay"])
        if faults["refuse"] and faults["refuse"] in text:
            return self.fail(400, "this question is\nnot allowed")
        if faults["break"] and faults["break"] in text:
            return self.fail(500, "internal error")
        if faults["body"] is not None:
            return self.reply(200, faults["body"])
        odd = faults["only"] in text and (faults["times"] is None or self.take("times"))
        if odd and faults["raw"] is not None:
            return self.reply_raw(**faults["raw"])
        self.reply(200, patched(completion(body, answer(body, text, images), faults), faults["patch"] if odd else None))
        with self.server.lock:
            stats["answered"] += 1

    def fail(self, status: int, message: str) -> None:
        wait = self.server.faults["retry_after"]
        if self.server.faults["echo"]:
            message += f" for {self.headers['Authorization']}"
        headers = {} if wait is None else {"Retry-After": str(wait)}
        self.reply(
            status, {"error": {"message": message, "type": "error", "code": self.server.faults["code"]}}, headers
        )

    def reply_raw(
        self, text="", base64="", status=200, headers: dict | None = None, cut: int | None = None, drip=0.0
    ) -> None:
        """Send anything. Headers of value null are not sent. `drip`: seconds between 100 spaces that are sent first."""
        data = b64decode(base64) if base64 else text.encode()
        self.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": len(data), **(headers or {})}
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()
        for _ in range(100 if drip else 0):
            self.wfile.write(b" ")
            time.sleep(drip)
        self.wfile.write(data[:cut])
        self.close_connection = cut is not None or headers["Content-Length"] is None

    def reply(self, status: int, value: object, headers: dict | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", "Content-Length": len(data), **(headers or {})}.items():
            self.send_header(name, str(text))
        self.end_headers()
        self.wfile.write(data)


def patched(reply: dict, patch: dict | None) -> dict:
    """A completion with replaced fields."""
    places = {"message": reply["choices"][0]["message"], "choice": reply["choices"][0], "reply": reply}
    for name, fields in (patch or {}).items():
        for field, value in fields.items():
            places[name][field] = value
            if value == REMOVED:
                del places[name][field]
    return reply


def read(content: str | list) -> tuple[str, list[Image.Image]]:
    """A message's text and its decoded images."""
    if isinstance(content, str):
        return content, []
    text = "".join(piece["text"] for piece in content if piece["type"] == "text")
    urls = [piece["image_url"]["url"] for piece in content if piece["type"] == "image_url"]
    return text, [Image.open(io.BytesIO(b64decode(url.partition(",")[2]))) for url in urls]


def answer(body: dict, text: str, images: list[Image.Image]) -> str:
    if images:
        image = images[0].convert("RGB")
        said = COLOURS.get(image.getpixel((image.width // 2, image.height // 2)), "unknown")
    else:
        said = text.partition("Say ")[2].split("\n")[0].rstrip(".") or "nothing"
    if body.get("temperature") and body["seed"] % 2:
        said = "purple"
    return f"I look at it: is the answer: blue?\nI think so.\nAnswer: {said}." if "step by step" in text else said


def completion(body: dict, said: str, faults: dict) -> dict:
    tokens = said.split()
    logprobs = [
        {"token": token, "logprob": -0.25 * i, "bytes": None, "top_logprobs": []} for i, token in enumerate(tokens)
    ]
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": f"{body['model']}-2026",
        "system_fingerprint": "fp_1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": said},
                "finish_reason": "stop",
                "logprobs": {"content": logprobs} if body.get("logprobs") and faults["logprobs"] else None,
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": len(tokens), "total_tokens": 100 + len(tokens)}
        if faults["usage"]
        else None,
    }


if __name__ == "__main__":
    server = Server()
    print(server.server_address[1], flush=True)
    server.serve_forever()
