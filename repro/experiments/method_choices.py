"""Which try of each method the study `methods` takes, by data set; written by
`python -m analysis.choose_methods --runs RUNS` from the runs of `sweeps/methods_tries.yaml` at the preset beside each.

Of trial 0, with one teacher of the student's architecture, the try with the highest agreement with the teacher
(controls: accuracy) on held-out train images, in percent beside each; a dash diverged. A data set that is not here
takes each method's first try.
"""

CHOICES: dict[str, dict[str, int]] = {
    "digits": {  # preset short
        "label_smoothing": 3,  # 88.3 89.0 88.7 91.0
        "hard_labels": 2,  # 91.0 91.3 92.7 89.7
        "soft_labels": 2,  # 10.7 94.3 95.7 95.7
        "logit_mse": 2,  # 7.3 86.3 94.7 92.7
        "decoupled": 2,  # 7.3 7.3 95.3 95.3
        "hint": 2,  # - 95.3 96.7 95.0
        "hidden_cosine": 3,  # 94.0 93.3 94.3 96.7
        "attention_transfer": 1,  # 11.3 97.0 96.0 96.7
        "flow": 0,  # 96.0 94.7 95.3 11.3
        "relational": 0,  # 97.0 96.0 96.0 94.7
        "similarity": 2,  # 11.3 11.3 95.7 94.0
        "correlation": 0,  # 96.0 95.3 95.3 11.3
        "contrastive": 0,  # 95.7 94.7 93.7 91.7
        "mutual_learning": 3,  # 85.0 70.7 85.0 86.0
        "codistillation": 2,  # 84.0 84.3 85.0 84.7
        "own_exits": 1,  # 83.3 83.7 81.7 82.7
    },
    "mnist": {  # preset short
        "label_smoothing": 0,  # 86.9 86.2 86.8 86.7
        "hard_labels": 2,  # 93.5 92.1 94.0 93.1
        "soft_labels": 0,  # 95.6 94.4 95.1 95.1
        "logit_mse": 2,  # 11.5 67.5 96.3 95.3
        "decoupled": 3,  # 11.5 93.2 94.4 96.2
        "hint": 1,  # 11.5 96.5 95.3 94.4
        "hidden_cosine": 3,  # 94.7 95.0 96.1 96.3
        "attention_transfer": 1,  # 11.5 95.8 95.6 95.1
        "flow": 1,  # 94.4 95.2 94.9 92.3
        "relational": 1,  # - 96.0 94.6 94.5
        "similarity": 1,  # 94.5 96.6 95.1 94.3
        "correlation": 0,  # 95.4 94.8 93.9 11.5
        "contrastive": 0,  # 95.7 94.7 94.6 95.2
        "mutual_learning": 1,  # 83.0 86.2 82.7 84.2
        "codistillation": 0,  # 83.8 83.2 83.7 82.4
        "own_exits": 2,  # 84.4 82.9 86.6 83.6
    },
}
