"""The figures that an app publishes: what a provider named in METRICS_PROVIDERS returns a list of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class MetricKind(StrEnum):
    """What a figure does over time; a MOMENT is a Unix time, shown as a timestamp in JSON."""

    COUNTER = "counter"
    GAUGE = "gauge"
    MOMENT = "moment"


@dataclass(frozen=True)
class Sample:
    """One value and the labels that tell it from its siblings; None means that there is none yet."""

    value: float | None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """A named figure. Its samples all carry the same label names, or it is one sample with no label.

    `name` is the key in JSON; Prometheus sees it with `mia_` in front.
    """

    name: str
    text: str
    kind: MetricKind
    samples: tuple[Sample, ...]

    @classmethod
    def single(cls, name: str, text: str, value: float | None, kind: MetricKind = MetricKind.GAUGE) -> "Metric":
        return cls(name, text, kind, (Sample(value),))
