from accounts.tests.cast import *  # noqa: F403
from knowledge.tests.site import site  # noqa: F401
