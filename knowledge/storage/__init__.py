"""Where uploaded files are kept: on this machine, or in any S3 such as Cloudflare's R2; Django's storages choose."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote
from uuid import UUID

import botocore.exceptions
from django.conf import settings
from django.core import signing
from django.core.files.storage import Storage, storages

ALIAS: Final = "knowledge"
ERRORS: Final = (OSError, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)
"""What a storage raises that is away, or that has no such file."""
UPLOAD_S: Final = 900
TICKET_HEADER: Final = "X-Upload-Token"
SALT: Final = "knowledge.upload"


@dataclass(frozen=True)
class Ticket:
    """How to send one file: a PUT of its bytes to this address with these headers, before the time is up."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "PUT"


def files() -> Storage:
    return storages[ALIAS]


def key_of(*, business_id: int, file_id: UUID) -> str:
    """Where a file is kept; its own name is no part of it, as somebody else chose that."""
    return f"knowledge/{business_id}/{file_id}"


def ticket_for(*, key: str, file_id: UUID, size_bytes: int) -> Ticket:
    """Straight to the bucket where there is one; else through us, with a token in a header that no log writes down."""
    if not is_bucket():
        token = signing.dumps(str(file_id), salt=SALT)
        return Ticket(f"/api/training/upload/{file_id}", {TICKET_HEADER: token})
    bucket = files()
    parameters = {"Bucket": settings.R2_BUCKET, "Key": key, "ContentLength": size_bytes}
    url = bucket.connection.meta.client.generate_presigned_url("put_object", Params=parameters, ExpiresIn=UPLOAD_S)  # type: ignore[attr-defined]
    return Ticket(str(url), {"Content-Length": str(size_bytes)})


def is_ticket(token: str, *, file_id: UUID) -> bool:
    """Whether this token was given out for this file, not too long ago."""
    try:
        return bool(signing.loads(token, salt=SALT, max_age=UPLOAD_S) == str(file_id))
    except signing.BadSignature:
        return False


def is_bucket() -> bool:
    return bool(settings.R2_ACCOUNT_ID or settings.S3_ENDPOINT_URL)


def public_url(key: str) -> str:
    """Where anybody can read a file, if the operator has opened the bucket; empty if not."""
    base = str(settings.CLOUDFLARE_R2_BASE_URL).rstrip("/")
    return f"{base}/{quote(key)}" if base else ""
