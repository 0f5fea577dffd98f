"""Weights of Qwen2.5-7B's shape made on the device, in four formats: their speed is real, their words are not.

usage: python -m benchmarks.gpu.synthesise FORMAT FOLDER [--shape 7b] [--device cuda]

Every kernel of these runtimes takes the same time whatever the numbers are, so a random matrix measures as a trained
one. Scales are such that activations stay finite. What depends on the words does not count: where answers end (their
lengths are fixed), and drafting (off). The output layer is fp16 in all formats; published EXL2 and EXL3 have 6 bits.
"""

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

FORMATS = ("fp16", "gptq", "exl2", "exl3")
GROUP = 128
# The standard deviation of a uniform four-bit number, and the mean of ExLlamaV2's squared four-bit scales.
STD_4BIT, MEAN_SCALE = 4.61, 93
EXL3_MUL1 = 0x83DCD12D - (1 << 32)
SPECIAL_IDS = 400


@dataclass(frozen=True)
class Shape:
    """The sizes of a Qwen2 model."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    feed: int
    vocab: int

    @property
    def head(self) -> int:
        return self.hidden // self.heads

    @property
    def kv(self) -> int:
        return self.head * self.kv_heads

    def linears(self) -> list[tuple[str, int, int, bool]]:
        """Name, inputs, outputs and whether there is a bias, for one layer."""
        return [
            ("self_attn.q_proj", self.hidden, self.hidden, True),
            ("self_attn.k_proj", self.hidden, self.kv, True),
            ("self_attn.v_proj", self.hidden, self.kv, True),
            ("self_attn.o_proj", self.hidden, self.hidden, False),
            ("mlp.gate_proj", self.hidden, self.feed, False),
            ("mlp.up_proj", self.hidden, self.feed, False),
            ("mlp.down_proj", self.feed, self.hidden, False),
        ]


SHAPES = {"7b": Shape(3584, 28, 28, 4, 18944, 152064), "tiny": Shape(512, 2, 4, 2, 1024, 2048)}
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Maker:
    """Makes tensors of one format on one device."""

    def __init__(self, form: str, device: str) -> None:
        self._form = form
        self._device = device
        self._random = torch.Generator(device=device).manual_seed(0)

    def normal(self, std: float, *shape: int) -> torch.Tensor:
        return (torch.randn(shape, device=self._device, generator=self._random) * std).half()

    def bits(self, *shape: int) -> torch.Tensor:
        """Any 32 bits."""
        low, high = -(2**31), 2**31 - 1
        wide = torch.randint(low, high, shape, dtype=torch.int64, device=self._device, generator=self._random)
        return wide.to(torch.int32)

    def full(self, value: float, dtype: torch.dtype, *shape: int) -> torch.Tensor:
        return torch.full(shape, value, dtype=dtype, device=self._device)

    def linear(self, name: str, inputs: int, outputs: int, *, bias: bool) -> dict[str, torch.Tensor]:
        std = 0.5 / math.sqrt(inputs)
        make = {"fp16": self._fp16, "gptq": self._gptq, "exl2": self._exl2, "exl3": self._exl3}[self._form]
        tensors = {f"{name}.{part}": tensor for part, tensor in make(inputs, outputs, std).items()}
        return {**tensors, f"{name}.bias": self.normal(0.02, outputs)} if bias else tensors

    def _fp16(self, inputs: int, outputs: int, std: float) -> dict[str, torch.Tensor]:
        return {"weight": self.normal(std, outputs, inputs)}

    def _gptq(self, inputs: int, outputs: int, std: float) -> dict[str, torch.Tensor]:
        """Without g_idx: a list of groups would count as act-order, and add a permutation."""
        groups = inputs // GROUP
        return {
            "qweight": self.bits(inputs // 8, outputs),
            # GPTQ stores each zero point less one.
            "qzeros": self.full(0x77777777, torch.int32, groups, outputs // 8),
            "scales": self.full(std / STD_4BIT, torch.float16, groups, outputs),
        }

    def _exl2(self, inputs: int, outputs: int, std: float) -> dict[str, torch.Tensor]:
        groups = inputs // GROUP
        starts = [number for group in range(groups) for number in (4, group * GROUP // 8)]
        order = torch.randperm(inputs, device=self._device, generator=self._random)
        return {
            "q_weight": self.bits(inputs // 8, outputs),
            "q_scale": self.bits(groups, outputs // 8),
            "q_scale_max": self.full(256 * std / STD_4BIT / MEAN_SCALE, torch.float16, groups),
            "q_groups": torch.tensor(starts, dtype=torch.int16, device=self._device),
            "q_invperm": order.to(torch.int32),
        }

    def _exl3(self, inputs: int, outputs: int, std: float) -> dict[str, torch.Tensor]:
        """Any bits are a valid trellis."""
        size = (inputs // 16, outputs // 16, 64)
        return {
            "trellis": torch.randint(
                -32768, 32767, size, dtype=torch.int16, device=self._device, generator=self._random
            ),
            "suh": self._signs(inputs),
            "svh": self._signs(outputs) * std,
            "mul1": torch.tensor(EXL3_MUL1, dtype=torch.int32),
        }

    def _signs(self, size: int) -> torch.Tensor:
        return (torch.randint(0, 2, (size,), device=self._device, generator=self._random) * 2 - 1).half()


def synthesise(form: str, folder: Path, shape: Shape, device: str) -> int:
    """Write the model; returns the bytes of its tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    names: dict[str, str] = {}
    total = 0
    for number, tensors in enumerate(_files(Maker(form, device), shape)):
        file = f"model-{number + 1:05d}-of-{shape.layers + 1:05d}.safetensors"
        held = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
        save_file(held, str(folder / file), metadata={"format": "pt"})
        names |= dict.fromkeys(held, file)
        total += sum(tensor.numel() * tensor.element_size() for tensor in held.values())
    _write(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": names})
    _write(folder / "config.json", config_of(form, shape))
    _write(folder / "generation_config.json", {"eos_token_id": shape.vocab - SPECIAL_IDS, "do_sample": True})
    _write_tokenizer(folder, shape.vocab)
    return total


def _files(maker: Maker, shape: Shape) -> Iterator[dict[str, torch.Tensor]]:
    ones = maker.full(1, torch.float16, shape.hidden)
    yield {
        "model.embed_tokens.weight": maker.normal(0.02, shape.vocab, shape.hidden),
        "model.norm.weight": ones,
        "lm_head.weight": maker.normal(0.02, shape.vocab, shape.hidden),
    }
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        tensors = {f"{prefix}{norm}.weight": ones.clone() for norm in ("input_layernorm", "post_attention_layernorm")}
        for name, inputs, outputs, bias in shape.linears():
            tensors |= maker.linear(prefix + name, inputs, outputs, bias=bias)
        yield tensors


def config_of(form: str, shape: Shape) -> dict[str, Any]:
    config: dict[str, Any] = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "intermediate_size": shape.feed,
        "vocab_size": shape.vocab,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "eos_token_id": shape.vocab - SPECIAL_IDS,
        "use_sliding_window": False,
    }
    if form == "gptq":
        settings = {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": True}
        config["quantization_config"] = settings
    elif form in ("exl2", "exl3"):
        config["quantization_config"] = {"quant_method": form, "bits": 4.0}
    return config


def _write_tokenizer(folder: Path, vocab_size: int) -> None:
    """One token for each byte, made-up words for the rest of the ids, then the marks of ChatML."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocab = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocab |= {f"Ġw{number}": number for number in range(len(vocab), vocab_size - SPECIAL_IDS)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_end|>", "<|im_start|>", "<|endoftext|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(folder / "tokenizer_config.json", {"eos_token": "<|im_end|>", "chat_template": TEMPLATE})


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("form", choices=FORMATS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    size = synthesise(options.form, options.folder, SHAPES[options.shape], options.device)
    print(f"{options.form}: {size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
