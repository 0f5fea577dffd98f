"""Our stand-in for flash-attn, against attention written out by hand."""

from typing import Any

import pytest

from gpu_miner.engines.batched import paged_attention
from gpu_miner.tests.engines.batched.runtimes import HAS_TORCH, HOW

pytestmark = pytest.mark.skipif(not HAS_TORCH, reason=f"torch is not installed: {HOW}")

SEQUENCES = 3
LIMIT = 2e-6


def by_hand(q: Any, keys: Any, values: Any, window: int = 0) -> Any:
    """One sequence: q (new, heads, dim) at its end, keys and values (all, kv heads, dim)."""
    import torch

    new, heads, dim = q.shape
    out = torch.empty_like(q)
    for head in range(heads):
        group = head // (heads // keys.shape[1])
        for row in range(new):
            place = keys.shape[0] - new + row
            first = max(0, place - window) if window else 0
            scores = keys[first : place + 1, group] @ q[row, head] * dim**-0.5
            out[row, head] = torch.softmax(scores, 0) @ values[first : place + 1, group]
    return out


class Pages:
    """A paged cache with three sequences of unequal length, their pages scattered."""

    def __init__(self, kv_heads: int, dim: int, page: int, lengths: list[int], new: int) -> None:
        import torch

        torch.manual_seed(len(lengths) + page + new)
        pages_each = [-(-(length + new) // page) for length in lengths]
        order = torch.randperm(sum(pages_each) + 4)
        self.k_cache, self.v_cache = (torch.randn(len(order), page, kv_heads, dim) for _ in range(2))
        self.table = torch.zeros(len(lengths), max(pages_each), dtype=torch.int32)
        self.keys = [torch.randn(length + new, kv_heads, dim) for length in lengths]
        self.values = [torch.randn(length + new, kv_heads, dim) for length in lengths]
        self.lengths = torch.tensor(lengths, dtype=torch.int32)
        used = 0
        for row, length in enumerate(lengths):
            for number in range(pages_each[row]):
                self.table[row, number] = order[used]
                used += 1
            for place in range(length):
                at = int(self.table[row, place // page]), place % page
                self.k_cache[at], self.v_cache[at] = self.keys[row][place], self.values[row][place]


@pytest.mark.parametrize(("heads", "kv_heads", "dim", "page"), [(4, 2, 16, 8), (28, 4, 64, 256), (2, 2, 32, 256)])
@pytest.mark.parametrize("new", [1, 5])
@pytest.mark.parametrize("window", [0, 6])
def test_pages_give_what_plain_attention_gives(
    heads: int, kv_heads: int, dim: int, page: int, new: int, window: int
) -> None:
    import torch

    lengths = [3, 17, 41] if page == 8 else [3, 255, 300]
    pages = Pages(kv_heads, dim, page, lengths, new)
    q = torch.randn(SEQUENCES, new, heads, dim)
    fresh = [torch.stack([part[length:] for part, length in zip(parts, lengths, strict=True)])
             for parts in (pages.keys, pages.values)]  # fmt: skip
    given = {"block_table": pages.table, "window_size": (window or -1, window or -1)}
    out = paged_attention.flash_attn_with_kvcache(
        q=q, k=fresh[0], v=fresh[1], k_cache=pages.k_cache, v_cache=pages.v_cache, cache_seqlens=pages.lengths, **given
    )
    again = paged_attention.flash_attn_with_kvcache(
        q=q, k_cache=pages.k_cache, v_cache=pages.v_cache, cache_seqlens=pages.lengths + new, **given
    )
    for row in range(SEQUENCES):
        wanted = by_hand(q[row], pages.keys[row], pages.values[row], window)
        assert (out[row] - wanted).abs().max() < LIMIT
        assert (again[row] - wanted).abs().max() < LIMIT


@pytest.mark.parametrize("causal", [True, False])
def test_without_a_cache(causal: bool) -> None:
    import torch

    torch.manual_seed(1)
    q, k, v = torch.randn(1, 4, 4, 16), torch.randn(1, 9, 2, 16), torch.randn(1, 9, 2, 16)
    out = paged_attention.flash_attn_func(q, k, v, causal=causal)
    if causal:
        assert (out[0] - by_hand(q[0], k[0], v[0])).abs().max() < LIMIT
    else:
        assert not torch.allclose(out[0], by_hand(q[0], k[0], v[0]))


def test_a_kernel_that_refuses_is_asked_only_once() -> None:
    """As torch's own does for tensors on a CPU."""
    import torch

    pages = Pages(2, 16, 8, [3, 9], 1)
    kernel = paged_attention.PagedKernel()
    q = torch.randn(2, 1, 2, 16)
    arguments = (q, pages.k_cache, pages.v_cache, pages.lengths + 1, pages.table, 0.25, (-1, -1))
    assert kernel.attend(*arguments) is None
    assert not kernel.is_usable
    assert kernel.attend(*arguments) is None
    assert paged_attention._by_gathering(*arguments).shape == q.shape


def test_the_pinned_torch_has_a_kernel_that_takes_pages() -> None:
    from inspect import signature

    from torch.nn.attention.varlen import varlen_attn

    taken = set(signature(varlen_attn).parameters)
    assert {"block_table", "seqused_k", "enable_gqa", "window_size", "scale"} <= taken
