"""The official clients of OpenAI's API and LangChain's, unchanged, against the platform as it runs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

openai = pytest.importorskip("openai")

from langchain_core.output_parsers import StrOutputParser  # noqa: E402
from langchain_core.prompts import ChatPromptTemplate  # noqa: E402
from langchain_core.tools import tool  # noqa: E402
from langchain_openai import ChatOpenAI, OpenAIEmbeddings  # noqa: E402
from pydantic import BaseModel  # noqa: E402

from mia.tests.chaos.machines import Machine  # noqa: E402
from mia.tests.chaos.site import ROOT, Site, until  # noqa: E402

pytestmark = pytest.mark.chaos

TEXT = "Ihr Paket 📦 kommt morgen, zwischen 9 und 11 Uhr."
CITED = "You may return a bicycle within 30 days of delivery [1]."
CALL = {"id": "c1", "type": "function", "function": {"name": "track", "arguments": '{"number": "7"}'}}
TRACK = {
    "type": "function",
    "function": {
        "name": "track",
        "parameters": {"type": "object", "properties": {"number": {"type": "string"}}, "required": ["number"]},
    },
}
ACTS = [
    {"match": "Track", "text": "", "tool_calls": [CALL]},
    {"match": "JSON", "text": '{"city": "Basel", "open": true}'},
    {"match": "return a bicycle", "text": CITED},
    {"match": "slowly", "text": "word " * 200, "delay_ms": 100},
    {"match": "parcel", "text": TEXT, "delay_ms": 40, "continues": True},
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def miner(site: Site) -> Iterator[Machine]:
    machine = Machine(site, "writer", ACTS).start().wait_until_online()
    yield machine
    machine.kill()


def client_of(site: Site, key: str = "") -> Any:
    return openai.OpenAI(base_url=f"{site.url}/v1", api_key=key or site.facts["keys"][0], max_retries=0, timeout=40)


@pytest.fixture
def client(site: Site, miner: Machine) -> Iterator[Any]:
    with client_of(site) as made:
        yield made


def ask(client: Any, words: str, model: str = "scripted", **fields: Any) -> Any:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": words}]
    return client.chat.completions.create(model=model, messages=messages, **fields)


def words_of(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_an_answer_comes_whole_with_its_usage(client: Any) -> None:
    reply = ask(client, "Where is my parcel?", temperature=0.1, stop=["###"], seed=7, max_completion_tokens=200)
    (choice,) = reply.choices
    assert (choice.message.content, choice.finish_reason) == (TEXT, "stop")
    assert reply.usage.completion_tokens > 5
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_an_answer_streams_and_ends_with_its_usage(client: Any) -> None:
    chunks = list(ask(client, "Where is my parcel?", stream=True, stream_options={"include_usage": True}))
    assert words_of(chunks) == TEXT
    assert len(chunks) >= 5
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 5


def test_tool_calls_are_handed_back_and_their_results_read(client: Any) -> None:
    reply = ask(client, "Track number 7", tools=[TRACK], tool_choice="auto")
    (call,) = reply.choices[0].message.tool_calls
    assert (reply.choices[0].finish_reason, call.function.name) == ("tool_calls", "track")
    assert json.loads(call.function.arguments) == {"number": "7"}
    streamed = [chunk.choices[0].delta for chunk in ask(client, "Track number 7", tools=[TRACK], stream=True)]
    (delta,) = [delta for delta in streamed if delta.tool_calls]
    assert (delta.tool_calls[0].index, delta.tool_calls[0].id) == (0, "c1")
    talk = [
        {"role": "user", "content": "Track number 7"},
        reply.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": "c1", "content": "on its way"},
        {"role": "user", "content": "And the parcel?"},
    ]
    assert client.chat.completions.create(model="scripted", messages=talk, tools=[TRACK]).choices[0].message.content


def test_a_schema_is_parsed_into_a_model(client: Any) -> None:
    class Shop(BaseModel):
        city: str
        open: bool

    asked = [{"role": "user", "content": "JSON please"}]
    reply = client.chat.completions.parse(model="scripted", messages=asked, response_format=Shop)
    assert reply.choices[0].message.parsed == Shop(city="Basel", open=True)


def test_a_bot_answers_with_its_sources_in_both_modes(site: Site, miner: Machine) -> None:
    taught = site.facts["taught"]
    question = "Within how many days can I return a bicycle?"
    with client_of(site, taught["key"]) as client:
        bot = f"bot:{taught['bot']}"
        assert bot in {model.id for model in client.models.list()}
        whole = ask(client, question, model=bot)
        assert (whole.choices[0].message.content, whole.sources[0]["url"]) == (CITED, "https://shop.example/returns")
        chunks = list(ask(client, question, model="bot", stream=True))
        assert words_of(chunks) == CITED
        assert chunks[-1].sources == whole.sources
        unknown = ask(client, "How old is the universe?", model=bot)
        assert unknown.sources == []
        assert site.sql("SELECT attempt_count FROM miners_job WHERE kind = 'api' ORDER BY created_at DESC LIMIT 1")[
            0
        ] == {"attempt_count": 0}, "nobody was asked"


def test_refusals_are_the_clients_own_exceptions(site: Site, client: Any) -> None:
    with pytest.raises(openai.NotFoundError, match="no such model"):
        ask(client, "Hello", model="gpt-5")
    with pytest.raises(openai.NotFoundError):
        ask(client, "Hello", model=f"bot:{site.facts['taught']['bot']}")
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, "Hello", n=2)
    assert (refused.value.param, refused.value.code) == ("n", "invalid_request")
    with pytest.raises(openai.BadRequestError, match="logprobs: This is not supported here"):
        ask(client, "Hello", logprobs=True)
    with pytest.raises(openai.BadRequestError) as too_long:
        ask(client, "word " * 40_000)
    assert too_long.value.code == "context_length_exceeded"
    with client_of(site, "mia_sk_" + "x" * 40) as stranger, pytest.raises(openai.AuthenticationError):
        ask(stranger, "Hello")
    with client_of(site, site.facts["publishable"]) as widget, pytest.raises(openai.APIStatusError) as kept_out:
        widget.models.list()
    assert kept_out.value.status_code in {401, 403}


def test_a_caller_that_hangs_up_frees_the_gpu(site: Site, client: Any) -> None:
    stream = ask(client, "Speak slowly", stream=True)
    next(chunk for chunk in stream if chunk.choices[0].delta.content)
    stream.close()
    newest = "SELECT state FROM miners_job WHERE kind = 'api' ORDER BY created_at DESC LIMIT 1"
    until(lambda: site.sql(newest)[0]["state"] == "cancelled", "the job to be cancelled", 15)


def test_an_answer_survives_the_miner_that_wrote_it(site: Site, client: Any, miner: Machine) -> None:
    site.settle()
    stream = ask(client, "Where is my parcel?", stream=True)
    first = next(chunk for chunk in stream if chunk.choices[0].delta.content)
    miner.kill()
    other = Machine(site, "second", ACTS).start()
    try:
        assert first.choices[0].delta.content + words_of(list(stream)) == TEXT
    finally:
        other.kill()
        miner.start().wait_until_online()


def test_embeddings_are_the_platforms_own(client: Any) -> None:
    (model,) = [one.id for one in client.models.list() if "gram" in one.id]
    packed = client.embeddings.create(model=model, input=["a red bicycle", "a blue bicycle"])
    plain = client.embeddings.create(model=model, input="a red bicycle", encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(packed.data[0].embedding, abs=1e-6)
    assert (len(packed.data), plain.usage.total_tokens > 0) == (2, True)
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model=model, input=[[1, 2, 3]])


@pytest.mark.parametrize("command", [[sys.executable, "ask.py"], ["node", "ask.mjs"]], ids=["python", "javascript"])
def test_the_examples_of_the_docs_run(site: Site, miner: Machine, command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    environment = {**os.environ, "MIA_URL": site.url, "MIA_KEY": site.facts["taught"]["key"]}
    asked = [*command, "Within how many days can I return a bicycle?"]
    done = subprocess.run(
        asked, cwd=ROOT / "docs" / "examples", env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.splitlines() == [CITED, "[1] Returns https://shop.example/returns"], done.stderr


def test_langchain_runs_unchanged(site: Site, miner: Machine) -> None:
    connection: dict[str, Any] = {"base_url": f"{site.url}/v1", "api_key": site.facts["keys"][0]}
    model = ChatOpenAI(model="scripted", max_retries=0, timeout=40, **connection)
    chain = ChatPromptTemplate.from_messages([("system", "Be brief."), ("user", "{question}")]) | model
    assert (chain | StrOutputParser()).invoke({"question": "Where is my parcel?"}) == TEXT
    assert "".join(chunk.text for chunk in chain.stream({"question": "Where is my parcel?"})) == TEXT

    @tool
    def track(number: str) -> str:
        """Where a parcel is."""
        return number

    (call,) = model.bind_tools([track]).invoke("Track number 7").tool_calls
    assert (call["name"], call["args"]) == ("track", {"number": "7"})
    embedder = next(one.id for one in client_of(site).models.list() if "gram" in one.id)
    vectors = OpenAIEmbeddings(model=embedder, check_embedding_ctx_length=False, **connection)
    assert len(vectors.embed_documents(["one", "two"])) == 2
