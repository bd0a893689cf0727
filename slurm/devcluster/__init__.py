"""A real Slurm on one machine, in one folder: accounting, two fake GPUs, and a preemptible partition."""

from slurm.devcluster.cluster import Cluster
from slurm.devcluster.daemon import ClusterError

__all__ = ["Cluster", "ClusterError"]
