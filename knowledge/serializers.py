"""The shapes of the training API."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from knowledge.choices import SourceKind, SourceStatus, TrainingStage, TrainingStatus
from knowledge.limits import MAX_FILE_BYTES, MAX_FILES_AT_ONCE, MAX_PAGES, MAX_TEXT_CHARS, MAX_URL_CHARS
from mia.lib.fields import IdField, StrictInteger, StrictText, StrictUuid

GIVEN_KINDS = [SourceKind.URL, SourceKind.SITEMAP, SourceKind.TEXT]


class BotRequest(serializers.Serializer[Any]):
    """Whom it is about."""

    bot_id = IdField(required=False, allow_null=True, help_text="Left out: what every bot of the business knows.")


class QueueReply(serializers.Serializer[Any]):
    """The training that was queued; without a `job_id` there was nothing to train."""

    message = serializers.CharField()
    job_id = serializers.UUIDField(allow_null=True)
    source_ids = serializers.ListField(child=serializers.UUIDField())


class DeleteReply(serializers.Serializer[Any]):
    """The source is gone; its file goes by this job."""

    message = serializers.CharField()
    job_id = serializers.UUIDField()


class SourceRequest(BotRequest):
    """A page, a website or a text to learn from."""

    kind = serializers.ChoiceField(choices=GIVEN_KINDS)
    title = StrictText(required=False, max_length=200, allow_blank=True)
    location = StrictText(required=False, max_length=MAX_URL_CHARS, help_text="Of a page or website.")
    text = StrictText(required=False, max_length=MAX_TEXT_CHARS, trim_whitespace=False)
    page_limit = StrictInteger(required=False, min_value=1, max_value=MAX_PAGES)
    refresh_hours = StrictInteger(required=False, min_value=0, max_value=24 * 365)


class SourceReply(serializers.Serializer[Any]):
    """A source and how far it has come."""

    source_id = serializers.UUIDField(source="pk")
    bot_id = serializers.IntegerField(allow_null=True)
    kind = serializers.ChoiceField(choices=SourceKind.choices)
    title = serializers.CharField()
    location = serializers.CharField()
    status = serializers.ChoiceField(choices=SourceStatus.choices)
    error = serializers.CharField()
    progress_done = serializers.IntegerField()
    progress_total = serializers.IntegerField()
    trained_at = serializers.DateTimeField(allow_null=True)
    next_refresh_at = serializers.DateTimeField(allow_null=True)


class SourcesReply(serializers.Serializer[Any]):
    """Sources, the newest first."""

    sources = SourceReply(many=True)


class TrainingReply(serializers.Serializer[Any]):
    """A training job and how far it has come."""

    job_id = serializers.UUIDField(source="pk")
    bot_id = serializers.IntegerField(allow_null=True)
    status = serializers.ChoiceField(choices=TrainingStatus.choices)
    stage = serializers.ChoiceField(choices=TrainingStage.choices)
    error = serializers.CharField()
    source_ids = serializers.ListField(child=serializers.UUIDField())
    chunks_embedded = serializers.IntegerField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class AnnouncedFile(serializers.Serializer[Any]):
    """A file that is to be uploaded."""

    name = StrictText(max_length=255)
    size_bytes = StrictInteger(min_value=1, max_value=MAX_FILE_BYTES)
    sha256 = serializers.RegexField(r"^[0-9a-f]{64}$", help_text="Of the content, in hexadecimal.")


class UploadInitRequest(BotRequest):
    """Files that are to be uploaded."""

    files = serializers.ListField(child=AnnouncedFile(), min_length=1, max_length=MAX_FILES_AT_ONCE)


class UploadTicket(serializers.Serializer[Any]):
    """How to upload one file: its bytes by this method, with these headers. Without a URL it is here already."""

    source_id = serializers.UUIDField()
    file_id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=SourceStatus.choices)
    upload_url = serializers.CharField(allow_null=True)
    method = serializers.CharField()
    headers = serializers.DictField(child=serializers.CharField())


class UploadInitReply(serializers.Serializer[Any]):
    """A ticket for each file, in their order."""

    files = UploadTicket(many=True)


class UploadFinalizeRequest(serializers.Serializer[Any]):
    """Sources whose files were uploaded."""

    source_ids = serializers.ListField(child=StrictUuid(), min_length=1, max_length=MAX_FILES_AT_ONCE)
