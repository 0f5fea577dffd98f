"""Starts the command line: python -m gpu_miner --url https://… --name …"""

import os
import sys

from gpu_miner.cli import main

# An engine's child process imports this file again; it must start no second miner.
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
