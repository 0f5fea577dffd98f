"""Tests of the miner; they need no platform, no Django, no GPU."""
