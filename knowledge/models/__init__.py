"""Every table of knowledge; no foreign key leads out of the app, as its tables may be in another database."""

from knowledge.models.answers import ModelConfigVersion, RetrievalLog
from knowledge.models.chunks import Chunk, Embedding, EmbeddingVersion, Posting, Section
from knowledge.models.questions import CuratedAnswer, QuestionCluster, TestCase, TestRun, TestSet, UnansweredQuestion
from knowledge.models.sources import Document, ForgottenFile, Source, UploadedFile
from knowledge.models.training import TrainingJob

__all__ = [
    "Chunk",
    "CuratedAnswer",
    "Document",
    "Embedding",
    "EmbeddingVersion",
    "ForgottenFile",
    "ModelConfigVersion",
    "Posting",
    "QuestionCluster",
    "RetrievalLog",
    "Section",
    "Source",
    "TestCase",
    "TestRun",
    "TestSet",
    "TrainingJob",
    "UnansweredQuestion",
    "UploadedFile",
]
