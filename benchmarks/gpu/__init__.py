"""Speed of the GPU engines on weights made on the spot: `python -m benchmarks.gpu.run` on a machine with CUDA."""
