"""Azure's addresses: path, query and key of every request, and which query strings are refused."""

from __future__ import annotations

import pytest

from extract.input_spec import LargeSpec
from extract.spec import AnswerSpec
from relope_jax.errors import ReLopeError
from tests.extract.answers.asking import ask, made_ready, make_plan, running_server

KEY = "0123456789abcdef-azure-key"
SPLIT = ("test",)


@pytest.fixture(scope="module")
def process():
    with running_server() as server:
        yield server


@pytest.fixture
def server(process, monkeypatch):
    monkeypatch.setenv("AZURE_KEY", KEY)
    return made_ready(process, monkeypatch)


@pytest.fixture
def plan(tmp_path):
    return make_plan(tmp_path)


@pytest.mark.parametrize("slash", ["", "/"])
def test_azure_is_asked_at_its_path_with_its_query_and_key(plan, server, slash):
    server.control(key=KEY)
    base_url = f"http://127.0.0.1:{server.port}/openai/deployments/toy-large{slash}?api-version=2024-10-21"
    answers = ask(plan, server, base_url=base_url, key_env="AZURE_KEY", splits=SPLIT)
    assert answers.settings["accuracy"] == pytest.approx(2 / 3)
    stats = server.stats
    assert set(stats["paths"]) == {"/openai/deployments/toy-large/chat/completions?api-version=2024-10-21"}
    assert set(stats["api_keys"]) == {KEY}
    assert set(stats["keys"]) == {f"Bearer {KEY}"}
    assert answers.settings["base_url"] == base_url
    files = [path for path in plan.store.parent.rglob("*") if path.is_file()]
    assert not any(KEY.encode() in path.read_bytes() for path in files)


def test_azure_without_or_with_a_wrong_key_gives_one_line(plan, server, monkeypatch):
    server.control(key=KEY)
    base_url = f"http://127.0.0.1:{server.port}/openai/deployments/toy-large?api-version=2024-10-21"
    with pytest.raises(ReLopeError, match=r"asks for a key \(status 401\): set the environment variable NO_SUCH_KEY"):
        ask(plan, server, base_url=base_url, key_env="NO_SUCH_KEY")
    assert set(server.stats["api_keys"]) == {None}
    monkeypatch.setenv("AZURE_KEY", "another")
    with pytest.raises(ReLopeError, match="refuses the key in the environment variable AZURE_KEY"):
        ask(plan, server, base_url=base_url, key_env="AZURE_KEY")


def test_a_wrong_deployment_gives_one_line(plan, server):
    base_url = f"http://127.0.0.1:{server.port}/openai/deployment/toy-large?api-version=2024-10-21"
    with pytest.raises(ReLopeError, match=r"status 404 \(Not Found\): does .* look like https://NAME.openai.azure.com"):
        ask(plan, server, base_url=base_url)


def test_other_queries_are_sent_and_the_azure_header_is_not(plan, server):
    ask(plan, server, base_url=f"{server.url}?region=eu%20west&empty=", key_env="AZURE_KEY", splits=SPLIT)
    assert set(server.stats["paths"]) == {"/v1/chat/completions?region=eu+west&empty="}
    assert set(server.stats["api_keys"]) == {None}


def test_another_api_version_is_another_source(plan, server):
    base_url = f"http://127.0.0.1:{server.port}/openai/deployments/toy-large?api-version="
    for version in ("1", "2"):
        ask(plan, server, base_url=base_url + version, name=f"v{version}", splits=SPLIT)
    assert server.stats["requests"] == 6
    with pytest.raises(ReLopeError, match=r"base_url: .*choose another"):
        ask(plan, server, base_url=base_url + "2", name="v1", splits=SPLIT)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000/v1",
        "https://name.openai.azure.com/openai/deployments/gpt-4o?api-version=2024-10-21",
        "https://name.openai.azure.com/openai/v1/?api-version=preview",
        "https://name.services.ai.azure.com/models?api-version=2024-05-01-preview",
        "http://[::1]:8000/v1?design=1&region=eu-west-1",
    ],
)
def test_addresses_that_hold_no_key_are_taken(url):
    assert AnswerSpec(base_url=url).base_url == url
    assert LargeSpec(name="m", base_url=url).base_url == url


@pytest.mark.parametrize(
    "query",
    [
        "key=secret", "KEY=secret", "api_key=secret", "api-key=secret", "apikey=secret", "subscription-key=secret",
        "token=secret", "access_token=secret", "accessToken=secret", "sig=secret", "se=1&sp=r&sig=secret",
        "X-Amz-Signature=secret", "code=secret", "client_secret=secret", "password=secret", "pwd=secret",
        "auth=secret", "Authorization=Bearer%20secret", "credential=secret", "jwt=secret", "session_id=secret",
        "api%2Dkey=secret", "%6Bey=secret", "a=1;key=secret", "api-version=1&key=secret", "v=sk-secret",
        "sk-secret", "v=eyJsecret", "v=secretsecretsecretsecretsecretsecret", "v=hf_secret", "key", "key=",
        "v=secret-secret-secret-secret-secret0", "api-version=sk-secret",
    ],
)  # fmt: skip
def test_a_query_that_may_hold_a_key_is_refused(query):
    for make in (lambda url: AnswerSpec(base_url=url), lambda url: LargeSpec(name="m", base_url=url)):
        with pytest.raises(ReLopeError, match=r"(answers|large)\.base_url has what looks like a key") as error:
            make(f"https://host/v1?{query}")
        assert "secret" not in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    ["https://me:sk-secret@host/v1", "https://sk-secret@host/v1?api-version=1", "https://host/v1#sk-secret",
     "https://host/v1?api-version=1#sk-secret", "ftp://host/v1", "host/v1?api-version=1", "http://ho st/v1",
     "http://host/v1?a=b c", "http://host/v1\n?a=b", "http://host:0/v1", "http://host:x/v1", "https://host\\@x/v1"],
    ids=repr,
)  # fmt: skip
def test_other_addresses_are_refused(url):
    with pytest.raises(ReLopeError, match=r"answers\.base_url must look like .*without credentials") as error:
        AnswerSpec(base_url=url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("query", ["", "?api-version=2024-10-21"])
def test_the_whole_address_of_chat_completions_is_refused(query):
    with pytest.raises(ReLopeError, match="ends in /chat/completions, which is added automatically"):
        AnswerSpec(base_url=f"https://name.openai.azure.com/openai/deployments/gpt-4o/chat/completions{query}")
