"""How native endpoints get into the OpenAPI schema: views that are described like any other and never called."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rest_framework.views import APIView


@dataclass(frozen=True)
class LaneOperation:
    """An address of the native lane, its method, and the view that describes it."""

    path: str
    method: str
    view: type[APIView]

    def endpoint(self) -> tuple[str, str, str, Callable[..., Any]]:
        """As drf-spectacular's preprocessing hooks have it."""
        return self.path, self.path, self.method, self.view.as_view()


def endpoints(operations: Sequence[LaneOperation]) -> list[tuple[str, str, str, Callable[..., Any]]]:
    return [operation.endpoint() for operation in operations]
