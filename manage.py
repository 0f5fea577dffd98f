#!/usr/bin/env python3
"""Django's command line."""

import os
import sys

from django.core.management import execute_from_command_line

from mia.embedded.state import provide_environment

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mia.settings")
    provide_environment(sys.argv[1:], os.environ)
    execute_from_command_line(sys.argv)
