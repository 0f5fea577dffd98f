"""The fixtures of the accounts tests."""

from accounts.tests.cast import *  # noqa: F403
