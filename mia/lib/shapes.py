"""Checking data against a serializer without paying for its fields each time.

DRF copies every field for every serializer that it makes, which costs the hot lane more than the check itself. A
serializer that only checks keeps nothing of what it checked, so one of each serves all requests and threads.
"""

import functools
from typing import Any

from rest_framework import serializers

Shape = type[serializers.Serializer[Any]]


def validated(shape: Shape, data: object) -> dict[str, Any]:
    """The fields of `data` as `shape` has them; raises rest_framework's ValidationError."""
    return dict(_instance(shape).run_validation(data))


@functools.cache
def _instance(shape: Shape) -> serializers.Serializer[Any]:
    return shape()
