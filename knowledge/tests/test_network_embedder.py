"""Embedding by miners: an honest one's vectors are kept, a liar's never are, and without any the CPU does the work."""

from __future__ import annotations

import base64
import json
import random
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from django.db import connections
from django.utils import timezone

from accounts.tenancy import platform_scope
from knowledge.embeddings import Batch, Vectors
from knowledge.embeddings.hashed import MODEL, HashedEmbedder
from knowledge.embeddings.network import NetworkEmbedder
from miners.choices import JobKind, JobState, Trust
from miners.models import Job, Miner
from miners.results import Result, accept_result
from miners.tests.factories import hold, make_miner

TEXTS = [f"Passage {number} speaks of bicycles and of helmets number {number}." for number in range(9)]
Working = Callable[[list[str]], Vectors]


def honestly(texts: list[str]) -> Vectors:
    return HashedEmbedder().embed_passages(Batch(texts))


def noisily(texts: list[str]) -> Vectors:
    return np.random.default_rng(1).standard_normal((len(texts), MODEL.dimensions)).astype(np.float32)


def lazily(texts: list[str]) -> Vectors:
    """The first text's vector for all of them."""
    return np.repeat(honestly(texts[:1]), len(texts), axis=0)


def shortly(texts: list[str]) -> Vectors:
    return honestly(texts[:-1])


class Network:
    """Miners that work as they are told to, in the order in which they are named."""

    def __init__(self) -> None:
        self.miners: list[tuple[Miner, Working]] = []
        self.jobs: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def add(self, working: Working, trust: Trust = Trust.TRUSTED) -> Miner:
        miner, _ = make_miner(trust=trust, features=["embed"], model_ids=[MODEL.name])
        self.miners.append((miner, working))
        return miner

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(5)

    def _serve(self) -> None:
        while not self._over.wait(0.01):
            with platform_scope():
                job = Job.objects.filter(kind=JobKind.EMBED, state=JobState.QUEUED).first()
            able = [pair for pair in self.miners if job is not None and pair[0].pk not in job.tried]
            if job is not None and able:
                self._work(job, *able[0])
        connections.close_all()

    def _work(self, job: Job, miner: Miner, working: Working) -> None:
        self.jobs.append(miner.name)
        held = hold(job, miner, acked=True)
        vectors = working([message["content"] for message in job.messages])
        raw = base64.b64encode(vectors.astype("<f2").tobytes()).decode()
        output = json.dumps({"dimensions": vectors.shape[1], "vectors": raw})
        accept_result(miner=miner, result=Result(job.pk, output, fence=held.fence), now=timezone.now())


@pytest.fixture
def network(transactional_db: None) -> Iterator[Network]:
    network = Network()
    yield network
    network.stop()


def embed(network: Network, second_opinions: float = 0.0) -> Vectors:
    network.start()
    embedder = NetworkEmbedder(HashedEmbedder(), dice=random.Random(3), second_opinions=second_opinions, wait_s=10)
    return embedder.embed_passages(Batch(TEXTS))


def trust_of(miner: Miner) -> int:
    miner.refresh_from_db()
    return miner.trust


def assert_right(vectors: Vectors) -> None:
    assert np.einsum("ij,ij->i", vectors, honestly(TEXTS)).min() > 0.999


def test_an_honest_miners_vectors_are_kept(network: Network) -> None:
    miner = network.add(honestly)
    assert_right(embed(network))
    assert (network.jobs, trust_of(miner)) == ([miner.name], Trust.TRUSTED)


def test_liars_are_caught_within_one_batch_and_an_honest_miner_does_the_work(network: Network) -> None:
    liars, honest = [network.add(noisily), network.add(lazily)], network.add(honestly)
    assert_right(embed(network))
    assert network.jobs == [miner.name for miner in (*liars, honest)]
    assert [trust_of(miner) for miner in (*liars, honest)] == [Trust.SUSPECT, Trust.SUSPECT, Trust.TRUSTED]


def test_without_an_honest_miner_this_machine_does_the_work(network: Network) -> None:
    liar = network.add(shortly)
    assert_right(embed(network))
    assert trust_of(liar) == Trust.SUSPECT


def test_a_second_opinion_tells_who_of_two_lied(network: Network) -> None:
    def mostly(texts: list[str]) -> Vectors:
        """Right but for one text that is no probe: only another miner's word gives it away."""
        vectors = honestly(texts)
        vectors[texts.index(TEXTS[4])] = honestly(["something else entirely"])[0]
        return vectors

    liar, honest = network.add(mostly), network.add(honestly)
    assert_right(embed(network, second_opinions=1.0))
    assert (trust_of(liar), trust_of(honest)) == (Trust.SUSPECT, Trust.TRUSTED)


def test_files_are_read_by_trusted_miners_only(db: None) -> None:
    make_miner(trust=Trust.VERIFIED, features=["embed"], model_ids=[MODEL.name])
    assert_right(NetworkEmbedder(HashedEmbedder()).embed_passages(Batch(TEXTS)))
    with platform_scope():
        assert not Job.objects.exists()


def test_questions_are_never_sent_to_miners(db: None) -> None:
    make_miner(trust=Trust.TRUSTED, features=["embed"], model_ids=[MODEL.name])
    NetworkEmbedder(HashedEmbedder()).embed_query("Where is my helmet?")
    with platform_scope():
        assert not Job.objects.exists()
