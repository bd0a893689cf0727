"""W&B as a mirror of the records on disk: it shows them all, and can never hurt a run.

Whatever W&B holds is read from the record by a process of its own, live or later, so training never calls the client.
"""
