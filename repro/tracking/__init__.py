"""W&B as a mirror of the records on disk: it shows all of them, and a failure of W&B never affects a run.

A separate process reads the records and sends them to W&B, live or later, so training never calls the client.
"""
