"""What leaves this machine in addition to the question: the headers that a real local server receives."""

from __future__ import annotations

import pytest

from extract.answers.client import make_client
from extract.spec import AnswerSpec
from tests.extract.answers.asking import ask, made_ready, make_plan, running_server

SPLIT = ("test",)
PRIVATE = {
    "OPENAI_ORG_ID": "org-private",
    "OPENAI_PROJECT_ID": "proj-private",
    "OPENAI_ADMIN_KEY": "sk-admin-private",
    "OPENAI_WEBHOOK_SECRET": "whsec-private",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/private",
    "OPENAI_CUSTOM_HEADERS": "X-Team: team-private\nAuthorization: Bearer other-private\nCookie: c-private",
}
ALLOWED = {"host", "accept", "accept-encoding", "connection", "user-agent", "content-type", "content-length",
           "authorization", "x-stainless-raw-response"}  # fmt: skip


@pytest.fixture(scope="module")
def process():
    with running_server() as server:
        yield server


@pytest.fixture
def server(process, monkeypatch):
    return made_ready(process, monkeypatch)


@pytest.fixture
def plan(tmp_path):
    return make_plan(tmp_path)


@pytest.mark.parametrize("key", ["", "sk-mine"])
def test_a_server_is_sent_nothing_that_is_meant_for_openai(plan, server, monkeypatch, tmp_path, key):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password netrc-private\n")
    netrc.chmod(0o600)
    for name, value in (PRIVATE | {"NETRC": str(netrc), "MY_KEY": key}).items():
        monkeypatch.setenv(name, value)
    ask(plan, server, splits=SPLIT, key_env="MY_KEY")
    received = server.stats["headers"]
    assert len(received) == 3
    for headers in received:
        assert headers.keys() <= ALLOWED
        assert headers["authorization"] == f"Bearer {key or 'none'}"
        assert "private" not in str(headers)


def test_openais_own_host_gets_organization_and_project_and_no_other_does(monkeypatch):
    for name, value in PRIVATE.items():
        monkeypatch.setenv(name, value)

    def sent(base_url: str) -> dict[str, str]:
        client = make_client(AnswerSpec(base_url=base_url), "sk-mine")
        request = client._client.build_request("POST", base_url, headers={"openai-organization": "org-private"})
        for hook in client._client.event_hooks["request"]:
            hook(request)
        return dict(request.headers)

    for base_url in ("https://api.openai.com/v1", "https://eu.api.openai.com/v1"):
        assert sent(base_url)["openai-organization"] == "org-private"
    for base_url in (
        "http://api.openai.com/v1",
        "https://openai.com/v1",
        "https://api.openai.com.evil.example/v1",
        "https://evilapi.openai.com/v1",
        "https://proxy.example/api.openai.com/v1",
    ):
        assert "openai-organization" not in sent(base_url)


def test_a_server_on_this_machine_is_never_asked_through_a_proxy(plan, server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert len(ask(plan, server, splits=SPLIT, retries=0).table) == 3
