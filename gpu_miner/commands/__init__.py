"""The commands of the miner, a file each."""
