"""Real processes that tests kill: a whole platform, its miners and its visitors."""
