"""How much a request may bring."""

from collections.abc import Callable, Mapping


def body_limit(default: int, prefixes: Mapping[str, int]) -> Callable[[bytes], int]:
    """How many bytes a request may bring, by the longest prefix of its path that is named."""
    ordered = sorted(((prefix.encode(), limit) for prefix, limit in prefixes.items()), key=lambda row: -len(row[0]))

    def limit_of(path: bytes) -> int:
        return next((limit for prefix, limit in ordered if path.startswith(prefix)), default)

    return limit_of
