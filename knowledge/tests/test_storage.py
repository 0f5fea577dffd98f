"""Files in an S3: a real server of its interface, from a wheel, in a process of its own."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import requests
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Business
from accounts.tenancy import business_scope
from knowledge import cleaning, services, storage
from knowledge.models import UploadedFile
from knowledge.services import Announced
from knowledge.tests.factories import add_file, chunks, fresh, train

pytestmark = pytest.mark.django_db
BUCKET = "mia-test"
PRICES = b"bicycle,price\nRed Racer,900\n"
KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        boto3.client("s3", endpoint_url=url, **KEYS).create_bucket(Bucket=BUCKET)
        yield url
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def bucket(server: str, settings: Settings) -> Any:
    """The storage as the settings make it, but for the address."""
    options = {
        "access_key": "key",
        "secret_key": "secret",
        "bucket_name": BUCKET,
        "endpoint_url": server,
        "region_name": "us-east-1",
        "signature_version": "s3v4",
        "addressing_style": "path",
        "default_acl": None,
    }
    s3 = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
    settings.STORAGES = {**settings.STORAGES, "knowledge": s3}
    settings.S3_ENDPOINT_URL, settings.R2_BUCKET = server, BUCKET
    return boto3.client("s3", endpoint_url=server, **KEYS)


def keys(bucket: Any) -> list[str]:
    return [found["Key"] for found in bucket.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def test_a_browser_uploads_straight_to_the_bucket(business: Business, bucket: Any) -> None:
    announced = Announced("prices.csv", len(PRICES), hashlib.sha256(PRICES).hexdigest())
    with business_scope(business.pk):
        ((file, ticket),) = services.announce_files(
            business_id=business.pk, bot_id=None, files=[announced], now=timezone.now()
        )
    assert ticket is not None
    assert ticket.url.startswith(bucket.meta.endpoint_url)
    assert "X-Amz-Signature" in ticket.url
    assert requests.put(ticket.url, PRICES, headers=ticket.headers, timeout=5).status_code == 200
    with business_scope(business.pk):
        (source,) = services.finalise_files(business_id=business.pk, source_ids=[file.source_id], now=timezone.now())
        assert source.status == "created"
    train(business)
    assert "Red Racer" in chunks(business)[0].words


def test_a_file_is_kept_trained_and_removed(business: Business, bucket: Any) -> None:
    source = add_file(business, "prices.csv", PRICES)
    with business_scope(business.pk):
        key = UploadedFile.objects.get().storage_key
    assert key in keys(bucket)
    train(business)
    assert fresh(business, source).status == "trained"
    with business_scope(business.pk):
        job = services.delete_source(
            business_id=business.pk, source_id=source.pk, requested_by="test", now=timezone.now()
        )
    cleaning.clean_up(business_id=business.pk, job_id=str(job.pk), now=timezone.now())
    assert key not in keys(bucket)


def test_a_file_that_is_not_there_says_so(business: Business, bucket: Any) -> None:
    source = add_file(business, "prices.csv", PRICES)
    with business_scope(business.pk):
        bucket.delete_object(Bucket=BUCKET, Key=UploadedFile.objects.get().storage_key)
    train(business)
    assert "cannot be found in the storage" in fresh(business, source).error


def test_a_bucket_that_is_away_delays_a_removal(business: Business, bucket: Any, settings: Settings) -> None:
    source = add_file(business, "prices.csv", PRICES)
    train(business)
    with business_scope(business.pk):
        job = services.delete_source(
            business_id=business.pk, source_id=source.pk, requested_by="test", now=timezone.now()
        )
    here = settings.STORAGES
    away = {**here["knowledge"]["OPTIONS"], "endpoint_url": f"http://127.0.0.1:{free_port()}"}
    settings.STORAGES = {**here, "knowledge": {**here["knowledge"], "OPTIONS": away}}
    cleaning.clean_up(business_id=business.pk, job_id=str(job.pk), now=timezone.now())
    with business_scope(business.pk):
        job.refresh_from_db()
    assert (job.status, "tried again" in job.error) == ("queued", True)
    settings.STORAGES = here
    cleaning.clean_up(business_id=business.pk, job_id=str(job.pk), now=timezone.now())
    with business_scope(business.pk):
        job.refresh_from_db()
    assert job.status == "cleanup_completed"


def test_files_have_a_public_address_only_where_the_bucket_is_open(settings: Settings) -> None:
    assert storage.public_url("knowledge/1/a") == ""
    settings.CLOUDFLARE_R2_BASE_URL = "https://pub-1234.r2.dev/"
    assert storage.public_url("knowledge/1/a b") == "https://pub-1234.r2.dev/knowledge/1/a%20b"
