"""Which try of each method the study `methods` takes, by data set: written by `python -m analysis.choose_methods`.

Of trial 0, with one teacher of the student's architecture, the try with the highest agreement with the teacher
(controls: accuracy) on held-out train images; `sweeps/methods_tries.yaml` makes them. A data set that is not here takes
each method's first try.
"""

CHOICES: dict[str, dict[str, int]] = {}
