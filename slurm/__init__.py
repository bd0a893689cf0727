"""What a Slurm user needs beside the launcher: profiles, and a one-machine cluster to try them on."""
