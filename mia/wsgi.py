"""Django's WSGI handler: everything but the hot lane and the sockets."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mia.settings")
application = get_wsgi_application()
