"""A job in a model's own chat format: its template, rendered by sandboxed Jinja, then its tokenizer."""

import json
from collections.abc import Sequence
from datetime import datetime

from jinja2 import Template, TemplateError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from gpu_miner.engines.base import EngineJob, text_of
from gpu_miner.engines.batched.generator import Prompt
from gpu_miner.engines.batched.model_folder import ModelFolder
from gpu_miner.engines.batched.tool_calls import OPEN
from gpu_miner.errors import EngineError, EngineUnavailable
from gpu_miner.protocol import JsonObject, as_list, as_object, as_text

SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


class ChatFormat:
    """Turns jobs into token ids for one model."""

    def __init__(self, folder: ModelFolder) -> None:
        self._source = _template_source(folder)
        self._template = _compiled(self._source)
        self._tokens = {name: folder.special_token(name) for name in SPECIAL_TOKENS}
        self.tokenizer = _tokenizer(folder)
        self._markup = _markup(self.tokenizer)

    @property
    def writes_tool_calls(self) -> bool:
        """Whether the template tells the model of tools, in the one way of calling them that is understood here."""
        return "tools" in self._source and OPEN in self._source

    def prompt(self, job: EngineJob) -> Prompt:
        tools, opening = self._tools(job)
        text = self._render(job.messages, tools) + opening + job.resume_text
        # The template writes the beginning-of-text mark itself where the model wants one.
        return Prompt(self.tokenizer.encode(text, add_special_tokens=False).ids, opening)

    def plain(self, text: str) -> str:
        """The text with chat markup broken, so that a customer's words cannot end their turn and begin another's."""
        for mark in self._markup:
            if mark in text:
                text = text.replace(mark, f"{mark[0]} {mark[1:]}")
        return text

    def _tools(self, job: EngineJob) -> tuple[list[JsonObject], str]:
        """The tools to tell of, and how the answer must begin when a call is demanded."""
        if not job.tools or job.tool_choice == "none":
            return [], ""
        if not self.writes_tool_calls:
            raise EngineError("unsupported", "this model cannot call tools", retryable=True)
        wanted = as_text(as_object(as_object(job.tool_choice).get("function")).get("name"))
        if wanted:
            chosen = [tool for tool in job.tools if as_object(tool.get("function")).get("name") == wanted]
            if not chosen:
                raise EngineError("bad_request", f"tool_choice: {wanted} is none of the tools", retryable=False)
            return chosen, f'{OPEN}\n{{"name": {json.dumps(wanted)}, "arguments": '
        return list(job.tools), f"{OPEN}\n" if job.tool_choice == "required" else ""

    def _render(self, messages: Sequence[JsonObject], tools: list[JsonObject]) -> str:
        try:
            text: str = self._template.render(
                messages=[self._message(message) for message in messages],
                tools=tools or None,
                add_generation_prompt=True,
                **self._tokens,
            )
        except (TemplateError, SecurityError) as error:
            words = f"the model's chat format refuses the messages: {error}"
            raise EngineError("bad_request", words, retryable=False) from error
        return text

    def _message(self, message: JsonObject) -> JsonObject:
        """As templates expect it: content one string, the arguments of calls as objects."""
        plain = {**message, "content": self.plain(text_of(message))}
        if message.get("tool_calls"):
            plain["tool_calls"] = [_call(as_object(call)) for call in as_list(message["tool_calls"])]
        return plain


def _compiled(source: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise EngineUnavailable(f"the chat template of this model cannot be read: {error}") from error


def _template_source(folder: ModelFolder) -> str:
    """Where models keep their template: a file of its own, else a field, which may hold several by name."""
    own = folder.path / "chat_template.jinja"
    if own.is_file():
        return own.read_text(encoding="utf-8")
    raw = folder.read_json("chat_template.json").get("chat_template") or folder.tokenizer_config.get("chat_template")
    if isinstance(raw, list):
        named = {as_text(item.get("name")): as_text(item.get("template")) for item in map(as_object, raw)}
        raw = named.get("tool_use") or named.get("default")
    if not isinstance(raw, str) or not raw:
        raise EngineUnavailable(f"the model in {folder.path} has no chat template; choose an instruct or chat model")
    return raw


def _tokenizer(folder: ModelFolder) -> Tokenizer:
    path = folder.path / "tokenizer.json"
    if not path.is_file():
        raise EngineUnavailable(f"the model in {folder.path} has no tokenizer.json")
    return Tokenizer.from_file(str(path))


def _markup(tokenizer: Tokenizer) -> list[str]:
    added = tokenizer.get_added_tokens_decoder().values()
    return [token.content for token in added if token.special and len(token.content) > 1]


def _call(call: JsonObject) -> JsonObject:
    function = as_object(call.get("function"))
    try:
        arguments = json.loads(as_text(function.get("arguments")) or "{}")
    except ValueError:
        arguments = function.get("arguments")
    return {**call, "function": {**function, "arguments": arguments}}


def _to_json(value: object, ensure_ascii: bool = False, indent: int | None = None, **_: object) -> str:
    """Jinja's own filter escapes for HTML, which no model was trained on."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _raise(words: str) -> None:
    raise TemplateError(words)


def _now(form: str) -> str:
    """Templates write the date of the machine they run on."""
    return datetime.now().astimezone().strftime(form)
