"""What makes a student: objectives, ensembles' logits, initialisations."""
