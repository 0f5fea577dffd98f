"""The admin site: one for everybody, showing each role its own. What the settings name is found here."""

from mia.admin.menu import environment_label, navigation
from mia.admin.overview import dashboard
from mia.admin.site import MiaAdminSite

__all__ = ["MiaAdminSite", "dashboard", "environment_label", "navigation"]
