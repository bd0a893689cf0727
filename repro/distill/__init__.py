"""What makes a student: objectives, ensembles of teachers, initialisations."""
