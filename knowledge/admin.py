"""Knowledge in the admin; each topic has a file of its own beside this one."""

from knowledge import admin_answers, admin_documents, admin_gaps, admin_sources, admin_tests

__all__ = ["admin_answers", "admin_documents", "admin_gaps", "admin_sources", "admin_tests"]
