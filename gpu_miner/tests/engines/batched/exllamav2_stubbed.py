"""A process of its own: our ExLlamaV2 code on the real package, whose compiled half is a stub; prints what it saw.

usage: python exllamav2_stubbed.py MODEL_FOLDER
"""

import contextlib
import inspect
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

from gpu_miner.engines.batched import exllamav2 as ours
from gpu_miner.engines.batched import paged_attention
from gpu_miner.engines.batched.generator import GeneratorOptions, Prompt, Request
from gpu_miner.engines.batched.json_filter import exllamav2_filter
from gpu_miner.engines.batched.model_folder import ModelFolder
from gpu_miner.engines.batched.sampling import Sampling
from gpu_miner.errors import EngineUnavailable


def main() -> None:
    stub: Any = ModuleType("exllamav2_ext")
    stub.__getattr__ = lambda name: MagicMock(name=name)
    sys.modules["exllamav2_ext"] = stub
    folder = ModelFolder(sys.argv[1])
    options = GeneratorOptions("exllamav2", model=sys.argv[1], slots=16, max_context=1024, chunk_size=700)
    with contextlib.redirect_stdout(sys.stderr):
        seen = {"stands_in": paged_attention.install()}
        package = ours.import_exllamav2()
        seen |= attention(package) | config(ours.make_config(folder, options)) | job(folder)
        seen |= calls(package, options) | json_mask(folder)
    print(json.dumps(seen))


def attention(package: Any) -> dict[str, Any]:
    from exllamav2 import attn

    wanted = set(inspect.signature(paged_attention.flash_attn_with_kvcache).parameters)
    return {
        "version": package.__version__,
        "pages": attn.has_flash_attn_with_paged,
        "window": attn.has_flash_attn_with_window,
        "softcap": attn.has_flash_attn_with_softcap,
        "called_with": sorted(wanted),
    }


def config(made: Any) -> dict[str, Any]:
    return {
        "theta": made.rotary_embedding_base,
        "architecture": made.architecture,
        "context": made.max_seq_len,
        "input": made.max_input_len,
        "no_flash": made.no_flash_attn,
        "unknown": refusal_of_an_unknown_architecture(Path(made.model_dir)),
    }


def refusal_of_an_unknown_architecture(known: Path) -> str:
    """What our code makes of a config that names none that exllamav2 knows."""
    with TemporaryDirectory() as folder:
        for path in known.iterdir():
            (Path(folder) / path.name).symlink_to(path.resolve())
        config = json.loads((known / "config.json").read_text())
        (Path(folder) / "config.json").unlink()
        (Path(folder) / "config.json").write_text(json.dumps(config | {"architectures": ["MartianForCausalLM"]}))
        try:
            ours.make_config(ModelFolder(folder), GeneratorOptions("exllamav2", model=folder))
        except EngineUnavailable as error:
            return str(error)
    return ""


def job(folder: ModelFolder) -> dict[str, Any]:
    sampling = Sampling(9, temperature=0.5, top_p=0.9, top_k=3, min_p=0.1, seed=5, stop=("END",), frequency_penalty=0.3)
    made = ours.make_job(Request("key", Prompt([1, 2, 3]), sampling), folder.eos_ids, None, None)
    chosen, greedy = made.gen_settings, ours.sampler_settings(Sampling(9, temperature=0))
    return {
        "job": [made.identifier, made.max_new_tokens, sorted(made.stop_tokens), sorted(made.stop_strings)],
        "prompt": made.sequences[0].input_ids.torch().tolist(),
        "settings": [chosen.temperature, chosen.top_p, chosen.top_k, chosen.min_p, chosen.token_frequency_penalty],
        "repetition": chosen.token_repetition_penalty,
        "greedy": [greedy.top_k, greedy.temperature],
    }


def calls(package: Any, options: GeneratorOptions) -> dict[str, Any]:
    """Every call that needs a GPU, bound to the real signature."""
    from exllamav2 import generator

    real = inspect.signature(generator.ExLlamaV2DynamicGenerator.__init__)
    given: dict[str, Any] = {}
    generator.ExLlamaV2DynamicGenerator = lambda **named: given.update(real.bind(None, **named).arguments)
    ours.make_runtime("model", "cache", "tokenizer", options)
    for mode in ("FP16", "Q8", "Q6", "Q4"):
        inspect.signature(ours.cache_class(mode).__init__).bind(None, "model", max_seq_len=256, lazy=True)
    inspect.signature(package.ExLlamaV2.load_autosplit).bind(None, "cache", callback=print)
    methods = ("enqueue", "cancel", "iterate", "clear_queue", "warmup")
    missing = [name for name in methods if f"def {name}(" not in inspect.getsource(sys.modules[generator_module()])]
    return {"slots": given["max_batch_size"], "chunk": given["max_chunk_size"], "missing": missing}


def generator_module() -> str:
    return "exllamav2.generator.dynamic"


def json_mask(folder: ModelFolder) -> dict[str, Any]:
    """What may come first in an object, by the real filter base and the real grammar."""
    import torch
    from tokenizers import Tokenizer

    tokenizer = SimpleNamespace(config=SimpleNamespace(model_dir=str(folder.path)))
    made = exllamav2_filter(None, tokenizer, folder.eos_ids, {})
    made.begin("")
    assert made.get_next(mask=True)
    logits = made.mask_logits(torch.zeros(672))
    words = Tokenizer.from_file(str(Path(folder.path) / "tokenizer.json"))
    allowed = [index for index in range(672) if logits[index] == 0]
    made.feed(torch.tensor([[words.token_to_id("{")]]))
    made.prepare_logit_mask()
    second = made.mask_logits(torch.zeros(672))
    return {
        "first": sorted({words.decode([index])[:1] for index in allowed}),
        "then_closing": bool(second[words.token_to_id("}")] == 0),
        "then_end": bool(second[folder.eos_ids[0]] == 0),
    }


main()
