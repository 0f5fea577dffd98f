"""A tiny chat model trained in place until it knows a few answers by heart: greedy text that means something.

usage: python -m gpu_miner.tests.engines.batched.trained_model FOLDER
"""

import sys
from pathlib import Path

from gpu_miner.tests.engines.batched.tiny_model import make_tiny_model

ANSWERS = {
    "When does the shop open?": "The shop opens at nine in the morning and closes at six.",
    "Where is the shop?": "The shop is in the old town, behind the church.",
    "Do you sell tea?": "Yes: green tea, black tea and café au lait.",
}
STEPS = 150


def train_tiny_model(folder: Path) -> Path:
    """Seconds on any device; the random model of `make_tiny_model` is where it starts."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    make_tiny_model(folder)
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).to(device)
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.05)
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    ids, labels = (part.to(device) for part in _lessons(tokenizer))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(STEPS):
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.half().save_pretrained(str(folder))
    return folder


def _lessons(tokenizer):  # type: ignore[no-untyped-def]
    """Questions and answers as ids, padded on the right; only the answers are learnt."""
    import torch

    rows = []
    for question, answer in ANSWERS.items():
        prompt = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        head = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        tail = tokenizer(f"{answer}<|im_end|>", add_special_tokens=False)["input_ids"]
        rows.append((head + tail, [-100] * len(head) + tail))
    width = max(len(ids) for ids, _ in rows)
    padded = [(ids + [0] * (width - len(ids)), labels + [-100] * (width - len(labels))) for ids, labels in rows]
    return torch.tensor([ids for ids, _ in padded]), torch.tensor([labels for _, labels in padded])


if __name__ == "__main__":
    train_tiny_model(Path(sys.argv[1]))
