"""A chat model of random weights, made in a second and a megabyte: Qwen2's shape, its own tokenizer and ChatML."""

import json
from pathlib import Path
from typing import Any

# The smallest shape that the kernels of ExLlama take: heads of 64, everything a multiple of 128.
HIDDEN, LAYERS, HEADS, KV_HEADS, FEED, VOCAB = 128, 2, 2, 1, 256, 640
MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% if tools %}<|im_start|>system\nTools: {{ tools | tojson }} in <tool_call></tool_call><|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = 'When does the shop open? The shop opens at nine in the morning. café 北京 😀 {"name": "menu"} ' * 4


def make_tiny_model(folder: Path) -> Path:
    """Weights that never choose a mark, so that every answer is as long as it may be."""
    folder.mkdir(parents=True, exist_ok=True)
    ends = write_tokenizer(folder)
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "intermediate_size": FEED,
        "vocab_size": VOCAB,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "eos_token_id": ends[0],
        "torch_dtype": "float16",
    }
    _write(folder / "config.json", config)
    _write(folder / "generation_config.json", {"eos_token_id": ends, "do_sample": False})
    _write_weights(folder / "model.safetensors", ends)
    return folder


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def write_tokenizer(folder: Path) -> list[int]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB - len(MARKS), initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([CORPUS], trainer)
    tokenizer.add_special_tokens(list(MARKS))
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": TEMPLATE}
    _write(folder / "tokenizer_config.json", settings)
    return [tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")]


def _write_weights(path: Path, never: list[int]) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    random = np.random.default_rng(7)

    def matrix(rows: int, columns: int) -> Any:
        return (random.standard_normal((rows, columns)) * 0.2).astype(np.float16)

    head = matrix(VOCAB, HIDDEN)
    # A row of zeros: its logit is 0, below the best of hundreds of random ones.
    head[never] = 0
    head[min(never) :] = 0
    weights = {
        "model.embed_tokens.weight": matrix(VOCAB, HIDDEN),
        "model.norm.weight": np.ones(HIDDEN, np.float16),
        "lm_head.weight": head,
    }
    kv = HIDDEN // HEADS * KV_HEADS
    for layer in range(LAYERS):
        name = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{name}{norm}.weight"] = np.ones(HIDDEN, np.float16)
        for part, rows in (("q", HIDDEN), ("k", kv), ("v", kv)):
            weights[f"{name}self_attn.{part}_proj.weight"] = matrix(rows, HIDDEN)
            weights[f"{name}self_attn.{part}_proj.bias"] = np.zeros(rows, np.float16)
        weights[f"{name}self_attn.o_proj.weight"] = matrix(HIDDEN, HIDDEN)
        weights[f"{name}mlp.gate_proj.weight"] = matrix(FEED, HIDDEN)
        weights[f"{name}mlp.up_proj.weight"] = matrix(FEED, HIDDEN)
        weights[f"{name}mlp.down_proj.weight"] = matrix(HIDDEN, FEED)
    save_file(weights, str(path), metadata={"format": "pt"})
