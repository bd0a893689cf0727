"""A real Slurm on one machine: accounting, two fake GPUs, a preemptible partition; all in one folder."""

from slurm.devcluster.cluster import Cluster
from slurm.devcluster.daemon import ClusterError

__all__ = ["Cluster", "ClusterError"]
