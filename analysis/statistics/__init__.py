"""Means over trials with their intervals, the control and rank correlations: see docs/statistics.md."""
