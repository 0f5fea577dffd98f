"""The MIA miner: takes jobs from a MIA platform, answers them on this machine and streams the words back."""

VERSION = "1.0.0"
