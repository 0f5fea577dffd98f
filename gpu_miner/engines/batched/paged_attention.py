"""What ExLlamaV2 wants of flash-attn, computed by torch itself, so that batching works without that package.

In its paged mode, for text and on one GPU, ExLlamaV2 calls `flash_attn_with_kvcache` and nothing else of it. Shapes:
q (batch, new, heads, dim); k and v (batch, new, kv heads, dim); the caches (pages, page, kv heads, dim); block_table
(batch, pages of one sequence); cache_seqlens (batch): tokens in the cache before the new ones, or with them when no k
and v are given.
"""

import logging
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

logger = logging.getLogger(__name__)

VERSION = "2.8.3"
EVERYTHING = (-1, -1)


def install() -> bool:
    """Stand in for flash-attn before ExLlamaV2 is imported; false when the real package is there."""
    if find_spec("flash_attn") is not None:
        return False
    module: Any = ModuleType("flash_attn")
    module.__spec__ = ModuleSpec("flash_attn", None)
    module.__version__ = VERSION
    module.flash_attn_func = flash_attn_func
    module.flash_attn_varlen_func = flash_attn_varlen_func
    module.flash_attn_with_kvcache = flash_attn_with_kvcache
    sys.modules["flash_attn"] = module
    # ExLlamaV2 imports its compiled half only to see whether it is there.
    sys.modules.setdefault("flash_attn_2_cuda", ModuleType("flash_attn_2_cuda"))
    return True


def flash_attn_with_kvcache(
    q: Any,
    k_cache: Any,
    v_cache: Any,
    k: Any = None,
    v: Any = None,
    *,
    cache_seqlens: Any,
    block_table: Any,
    causal: bool = True,
    softmax_scale: float | None = None,
    window_size: tuple[int, int] = EVERYTHING,
) -> Any:
    """Write the new keys and values into their pages, then attend to everything up to each query's own place."""
    assert causal
    total = cache_seqlens
    if k is not None:
        _append(k_cache, v_cache, k, v, cache_seqlens, block_table)
        total = cache_seqlens + q.shape[1]
    scale = softmax_scale if softmax_scale is not None else q.shape[-1] ** -0.5
    if q.is_cuda:
        out = KERNEL.attend(q, k_cache, v_cache, total, block_table, scale, window_size)
        if out is not None:
            return out
    return _by_gathering(q, k_cache, v_cache, total, block_table, scale, window_size)


def flash_attn_func(
    q: Any, k: Any, v: Any, *, causal: bool = False, softmax_scale: float | None = None,
    window_size: tuple[int, int] = EVERYTHING,
) -> Any:  # fmt: skip
    """Attention without a cache, as ExLlamaV2 uses it outside its paged mode."""
    import torch

    new, old = q.shape[1], k.shape[1]
    queries = torch.arange(old - new, old, device=q.device)[:, None]
    mask = _visible(queries, torch.arange(old, device=q.device)[None], window_size) if causal else None
    return _attend(q, k, v, mask, softmax_scale)


def flash_attn_varlen_func(*_: object, **__: object) -> None:
    raise NotImplementedError("only models that see pictures need this, and this miner serves text")


def _append(k_cache: Any, v_cache: Any, k: Any, v: Any, cache_seqlens: Any, block_table: Any) -> None:
    import torch

    page = k_cache.shape[1]
    places = cache_seqlens.long()[:, None] + torch.arange(k.shape[1], device=k.device)[None]
    pages = torch.gather(block_table.long(), 1, places // page)
    k_cache[pages, places % page] = k
    v_cache[pages, places % page] = v


class PagedKernel:
    """torch's own kernel, which reads pages since torch 2.12; no longer asked once it has refused.

    Whether its build for a GPU takes these shapes shows at the first call, which is the generator's warm-up.
    """

    def __init__(self) -> None:
        self.is_usable = True

    def attend(self, *arguments: Any) -> Any:
        """The attention, or None when this torch cannot compute it from pages."""
        if not self.is_usable:
            return None
        try:
            return _by_varlen(*arguments)
        except (ImportError, TypeError, RuntimeError, NotImplementedError) as error:
            if "out of memory" in str(error):
                raise
            logger.warning("torch's attention does not read pages here, they are gathered instead: %s", error)
            self.is_usable = False
            return None


KERNEL = PagedKernel()


def _by_varlen(
    q: Any, k_cache: Any, v_cache: Any, total: Any, block_table: Any, scale: float, window_size: tuple[int, int]
) -> Any:
    import torch
    from torch.nn.attention.varlen import varlen_attn

    batch, new, heads, dim = q.shape
    starts = torch.arange(0, (batch + 1) * new, new, dtype=torch.int32, device=q.device)
    # The bound of the block table instead of the true longest length, which lies on the GPU.
    longest = block_table.shape[1] * k_cache.shape[1]
    out = varlen_attn(
        q.reshape(batch * new, heads, dim),
        k_cache,
        v_cache,
        starts,
        None,
        new,
        longest,
        scale=scale,
        window_size=(window_size[0], 0),
        enable_gqa=heads != k_cache.shape[2],
        seqused_k=total.to(torch.int32),
        block_table=block_table.to(torch.int32),
    )
    return out.view(batch, new, heads, dim)


def _by_gathering(
    q: Any, k_cache: Any, v_cache: Any, total: Any, block_table: Any, scale: float, window_size: tuple[int, int]
) -> Any:
    """Copies each sequence's pages together first: three times the traffic, on any device."""
    import torch

    batch, new = q.shape[:2]
    table = block_table.long()
    keys, values = (cache[table].flatten(1, 2) for cache in (k_cache, v_cache))
    queries = (total.long()[:, None] - new + torch.arange(new, device=q.device)[None])[..., None]
    mask = _visible(queries, torch.arange(keys.shape[1], device=q.device)[None, None], window_size)
    return _attend(q, keys, values, mask.view(batch, 1, new, -1), scale)


def _visible(queries: Any, keys: Any, window_size: tuple[int, int]) -> Any:
    mask = keys <= queries
    return mask & (keys >= queries - window_size[0]) if window_size[0] > 0 else mask


def _attend(q: Any, k: Any, v: Any, mask: Any, scale: float | None) -> Any:
    from torch.nn.functional import scaled_dot_product_attention

    grouped = q.shape[2] != k.shape[2]
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    out = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, enable_gqa=grouped)
    return out.transpose(1, 2).contiguous()
