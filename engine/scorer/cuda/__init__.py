"""The CUDA side of the scorer: the same judge and worker, with the buffers in device memory."""
