"""For Slurm users, in addition to the launcher: profiles, and a one-machine cluster to try them on."""
