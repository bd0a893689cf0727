"""How a network is trained: optimizers and learning-rate schedules."""
