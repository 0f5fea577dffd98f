"""What is searched: sections of documents, the chunks cut from them, and their embeddings."""

from __future__ import annotations

from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import Deferrable, F, Func, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from pgvector.django import HalfVectorField

from accounts.tenancy import DetachedTenantModel
from knowledge import querysets
from knowledge.choices import SEARCH_CONFIGURATIONS, SIMPLE, VersionState
from knowledge.limits import SEPARATOR
from knowledge.models.sources import Document, Source


class Section(DetachedTenantModel):
    """The words between two headings of a document: what a chunk is cut from and what an answer is given."""

    document = models.ForeignKey(
        Document, on_delete=models.CASCADE, related_name="sections", verbose_name=_("document")
    )
    position = models.PositiveIntegerField(_("position"))
    heading = models.CharField(_("heading"), max_length=1000, blank=True)
    anchor = models.CharField(
        _("place"), max_length=200, blank=True, help_text=_("Such as #prices, or page=3 of a PDF.")
    )
    text = models.TextField(_("text"))

    objects = querysets.SectionManager()

    class Meta:
        ordering = ["document_id", "position"]
        constraints = [
            models.UniqueConstraint(
                fields=["business_id", "document", "position"],
                deferrable=Deferrable.DEFERRED,
                name="section_has_a_place_of_its_own",
            ),
        ]

    def __str__(self) -> str:
        return self.heading or self.text[:60]


class Chunk(DetachedTenantModel):
    """An indexed slice of a section, with the title and the headings above it.

    `source`, `bot_id` and `language` repeat what its document says, so that a search reads this table alone.
    """

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="chunks", verbose_name=_("source"))
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="chunks", verbose_name=_("document"))
    section = models.ForeignKey(Section, on_delete=models.CASCADE, related_name="chunks", verbose_name=_("section"))
    bot_id = models.BigIntegerField(_("bot"), null=True, blank=True)
    position = models.PositiveIntegerField(_("position"))
    heading = models.CharField(_("headings"), max_length=1600, blank=True)
    words = models.TextField(_("words"))
    tokens = models.PositiveIntegerField(_("tokens"), default=0)
    language = models.CharField(_("language"), max_length=16, blank=True)
    configuration = models.CharField(max_length=16, default=SIMPLE, help_text="PostgreSQL's text search configuration.")
    curated = models.BooleanField(_("written for the bot"), default=False)
    content_hash = models.CharField(max_length=64)
    search_vector = models.GeneratedField(
        expression=Func(F("configuration"), F("heading"), F("words"), function="knowledge_search_vector"),
        output_field=SearchVectorField(),
        db_persist=True,
    )
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)

    objects = querysets.ChunkManager()

    class Meta:
        ordering = ["document_id", "position"]
        constraints = [
            models.UniqueConstraint(
                fields=["business_id", "document", "position"],
                deferrable=Deferrable.DEFERRED,
                name="chunk_has_a_place_of_its_own",
            ),
            models.CheckConstraint(
                name="chunk_configuration_is_known",
                condition=Q(configuration__in=[SIMPLE, *sorted(set(SEARCH_CONFIGURATIONS.values()))]),
            ),
        ]
        indexes = [
            models.Index(fields=["business_id", "bot_id", "curated"], name="chunk_of_a_bot"),
        ]

    def __str__(self) -> str:
        return self.words[:60]

    @property
    def embedded_text(self) -> str:
        """What its vector is made of: the headings, then the words."""
        return f"{self.heading}\n{self.words}" if self.heading else self.words

    @property
    def heading_path(self) -> list[str]:
        return self.heading.split(SEPARATOR) if self.heading else []


class EmbeddingVersion(DetachedTenantModel):
    """One way to embed a business's chunks: who does it, with which model, cut how; one is searched at a time."""

    provider = models.CharField(_("made by"), max_length=32)
    model = models.CharField(_("model"), max_length=200)
    version = models.CharField(_("version"), max_length=64, blank=True)
    dimensions = models.PositiveIntegerField(_("dimensions"))
    prefix = models.CharField(_("prefix of passages"), max_length=64, blank=True)
    query_prefix = models.CharField(_("prefix of questions"), max_length=64, blank=True)
    chunker_version = models.CharField(_("cut by"), max_length=32)
    state = models.CharField(_("state"), max_length=10, choices=VersionState.choices, default=VersionState.DRAFT)
    threshold = models.FloatField(_("evidence needed"), null=True, blank=True)
    calibrated_at = models.DateTimeField(_("calibrated"), null=True, blank=True)
    has_index = models.BooleanField(_("has an index of its own"), default=False, editable=False)
    error = models.CharField(_("what went wrong"), max_length=500, blank=True)
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)
    activated_at = models.DateTimeField(_("in use since"), null=True, blank=True)

    objects = querysets.EmbeddingVersionManager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["business_id", "provider", "model", "version", "dimensions", "prefix", "chunker_version"],
                name="embedding_version_is_made_once",
            ),
            models.UniqueConstraint(
                fields=["business_id"], condition=Q(state="active"), name="embedding_version_in_use_is_one_per_business"
            ),
            models.CheckConstraint(name="embedding_version_state_is_known", condition=Q(state__in=VersionState.values)),
            models.CheckConstraint(
                name="embedding_version_has_a_size", condition=Q(dimensions__gte=1, dimensions__lte=4096)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.model} {self.version}".strip()


class Embedding(DetachedTenantModel):
    """The vector of one chunk in one version; the database refuses one of another size than its version's."""

    chunk = models.ForeignKey(Chunk, on_delete=models.CASCADE, related_name="embeddings", verbose_name=_("chunk"))
    bot_id = models.BigIntegerField(_("bot"), null=True, blank=True, help_text=_("As its chunk has it."))
    embedding_version = models.ForeignKey(
        EmbeddingVersion, on_delete=models.CASCADE, related_name="embeddings", verbose_name=_("version")
    )
    dimensions = models.PositiveIntegerField(_("dimensions"))
    vector = HalfVectorField(_("vector"))
    miner_id = models.BigIntegerField(_("miner"), null=True, blank=True)
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)

    objects = querysets.EmbeddingManager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["business_id", "embedding_version", "chunk"], name="embedding_is_one_per_chunk_and_version"
            ),
            models.CheckConstraint(
                name="embedding_has_the_size_it_says",
                condition=Q(dimensions=Func(F("vector"), function="vector_dims", output_field=models.IntegerField())),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.chunk_id} ({self.dimensions})"


class Posting(DetachedTenantModel):
    """Which chunks of one segment hold a term, and how strongly: PostgreSQL's stems, found by equality alone.

    A GIN index would never be used here: under row-level security PostgreSQL runs `@@`, which might leak, only after
    the policy, on every row of the business. Equality does not leak, so this B-tree is used. The empty term lists all
    chunks of its segment.
    """

    segment = models.BigIntegerField(help_text="The lowest chunk in it.")
    term = models.CharField(max_length=255)
    size = models.PositiveIntegerField()
    chunk_ids = models.BinaryField(help_text="Big-endian 64-bit integers, ascending.")
    impacts = models.BinaryField(help_text="Big-endian 16-bit integers: ten-thousandths of the BM25 weight before IDF.")

    objects = querysets.PostingManager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["business_id", "term", "segment"], name="posting_is_one_per_term_and_segment"
            ),
            models.CheckConstraint(
                name="posting_lists_as_many_chunks_as_it_says",
                condition=Q(size=Func(F("chunk_ids"), function="octet_length", output_field=models.IntegerField()) / 8),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.term} ({self.size})"
