"""The fixtures of the network's tests: the people of accounts."""

from accounts.tests.cast import *  # noqa: F403
