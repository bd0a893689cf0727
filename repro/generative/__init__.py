"""Generative networks for images: architectures, losses, sampling, and sample quality."""
