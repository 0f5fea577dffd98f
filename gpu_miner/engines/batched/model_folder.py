"""A model's folder as Hugging Face lays it out: what its JSON files say, read once."""

import json
from functools import cached_property
from pathlib import Path

from gpu_miner.errors import EngineUnavailable
from gpu_miner.protocol import JsonObject, as_int, as_list, as_object, as_text

MAX_JSON_BYTES = 64 * 1024 * 1024
SAMPLING_NAMES = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


class ModelFolder:
    """Facts about the model in one folder; raises EngineUnavailable when it is none."""

    def __init__(self, path: str) -> None:
        self.path = Path(path).expanduser()
        if not path or not self.path.is_dir():
            raise EngineUnavailable(f"there is no model folder at “{path}”; name one with --model")
        if not (self.path / "config.json").is_file():
            raise EngineUnavailable(f"{self.path} is no model folder: it has no config.json")

    @cached_property
    def config(self) -> JsonObject:
        return self.read_json("config.json")

    @cached_property
    def text_config(self) -> JsonObject:
        """The part about words of a model that also sees or hears."""
        return as_object(self.config.get("text_config")) or self.config

    @cached_property
    def generation_config(self) -> JsonObject:
        return self.read_json("generation_config.json")

    @cached_property
    def tokenizer_config(self) -> JsonObject:
        return self.read_json("tokenizer_config.json")

    @property
    def eos_ids(self) -> list[int]:
        """Every token that ends an answer: generation_config.json knows them all, config.json often only the first."""
        raw = self.generation_config.get("eos_token_id", self.text_config.get("eos_token_id"))
        many = raw if isinstance(raw, list) else [raw]
        return [token for token in many if isinstance(token, int) and not isinstance(token, bool)]

    @property
    def max_context(self) -> int:
        return as_int(self.text_config.get("max_position_embeddings"), 2048)

    @property
    def sampling_defaults(self) -> JsonObject:
        """How the model's makers want it sampled, for what a job leaves open."""
        if self.generation_config.get("do_sample") is False:
            return {"temperature": 0.0}
        return {name: value for name, value in self.generation_config.items() if name in SAMPLING_NAMES}

    @property
    def quantization(self) -> str:
        """Such as gptq-4bit or exl3-4bpw; nothing for plain weights."""
        quant = as_object(self.config.get("quantization_config"))
        method = as_text(quant.get("quant_method"))
        bits = quant.get("bits")
        return f"{method}-{bits:g}bit" if method and isinstance(bits, int | float) else method

    @property
    def architecture(self) -> str:
        return next((as_text(name) for name in as_list(self.config.get("architectures"))), "")

    def special_token(self, name: str) -> str:
        """The text of bos_token, eos_token and their like, which may be wrapped in an object."""
        raw = self.tokenizer_config.get(name)
        return as_text(raw) or as_text(as_object(raw).get("content"))

    def read_json(self, name: str) -> JsonObject:
        """An absent file is empty; a broken one is refused."""
        path = self.path / name
        if not path.is_file():
            return {}
        if path.stat().st_size > MAX_JSON_BYTES:
            raise EngineUnavailable(f"{path} is too large to be true")
        try:
            return as_object(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise EngineUnavailable(f"{path} cannot be read: {error}") from error
