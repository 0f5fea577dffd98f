"""Knowledge in the admin; each topic has a file of its own beside this one."""

from knowledge import admin_documents, admin_sources

__all__ = ["admin_documents", "admin_sources"]
