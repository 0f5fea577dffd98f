"""Engines that write for many jobs at once, in a process of their own that can be killed and restarted."""
