"""The fixtures of the knowledge tests: the people of accounts, a website, and a place for files."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.tests.cast import *  # noqa: F403
from knowledge.tests.site import site

__all__ = ["site"]


@pytest.fixture(autouse=True)
def own_files(settings: Settings, tmp_path: Path) -> None:
    """Uploaded files go to a directory of the test's own."""
    local = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": tmp_path / "files"}}
    settings.STORAGES = {**settings.STORAGES, "knowledge": local}
