"""The reproduction suite for *Does Knowledge Distillation Really Work?* (arXiv 2106.05945)."""

__version__ = "0.1.0"
