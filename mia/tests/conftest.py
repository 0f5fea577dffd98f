"""The fixtures of the cross-app tests: the people of accounts."""

from accounts.tests.cast import *  # noqa: F403
