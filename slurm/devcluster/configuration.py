"""The cluster's configuration files: munge key, slurm.conf, gres.conf, slurmdbd.conf, and MariaDB's settings."""

import getpass
import os
import random
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

NODE = socket.gethostname().split(".")[0]
CLUSTER = "devcluster"

_SLURM = """\
# Written by `python -m slurm.devcluster start`; rewritten at each start.
ClusterName={cluster}
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={ports.slurmctld}
SlurmdPort={ports.slurmd}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# cred_expire: a requeued job waits for its old credential to expire, by default 120 s.
AuthInfo=socket={state}/munge/socket,cred_expire=5
StateSaveLocation={state}/slurmctld
SlurmdSpoolDir={state}/slurmd
SlurmctldPidFile={state}/slurmctld/own.pid
SlurmdPidFile={state}/slurmd/own.pid

# Listen on 127.0.0.1 only.
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny

# No cgroups, no root: an ordinary user's Slurm follows processes through /proc and binds nothing.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true

SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
SlurmdParameters=config_overrides
# Refuse at once what can never start, instead of queueing it for ever.
EnforcePartLimits=ALL
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000,sched_interval=5,bf_interval=5

# `high` evicts jobs of `low`: they get the signal that they asked for with --signal, GraceTime to use it, and requeue.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
PriorityType=priority/basic
JobRequeue=1
KillWait=5
ReturnToService=2
MinJobAge=3600
SlurmctldTimeout=30
SlurmdTimeout=60

AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports.slurmdbd}
AccountingStoragePass={state}/munge/socket
AccountingStorageTRES=gres/gpu
JobAcctGatherType=jobacct_gather/linux

GresTypes=gpu
NodeName={node} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:fake:2 State=UNKNOWN
PartitionName=main Nodes={node} Default=YES PriorityTier=5 PreemptMode=OFF MaxTime=1-00:00:00 State=UP
PartitionName=low Nodes={node} PriorityTier=1 PreemptMode=REQUEUE GraceTime=15 MaxTime=1-00:00:00 State=UP
PartitionName=high Nodes={node} PriorityTier=9 PreemptMode=OFF MaxTime=1-00:00:00 State=UP
"""

# Any two character devices will do: Slurm counts them, and sets CUDA_VISIBLE_DEVICES to 0 and 1.
_GRES = """\
AutoDetect=off
NodeName={node} Name=gpu Type=fake File=/dev/null,/dev/zero
"""

_SLURMDBD = """\
AuthType=auth/munge
AuthInfo=socket={state}/munge/socket
DbdHost={node}
DbdAddr=127.0.0.1
DbdPort={ports.slurmdbd}
CommunicationParameters=NoInAddrAny
SlurmUser={user}
PidFile={state}/pid/slurmdbd.own
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={ports.mariadbd}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm
"""

_MARIADB = """\
[mariadbd]
datadir={state}/mariadb
tmpdir={state}/tmp
socket={state}/mariadb/socket
pid-file={state}/mariadb/own.pid
bind-address=127.0.0.1
skip-name-resolve
port={ports.mariadbd}
init-file={state}/etc/database.sql
innodb-buffer-pool-size=64M
innodb-log-file-size=32M
innodb-lock-wait-timeout=900
innodb-flush-log-at-trx-commit=2
"""

_DATABASE = """\
CREATE OR REPLACE USER slurm@'127.0.0.1' IDENTIFIED BY '{password}';
GRANT ALL ON slurm.* TO slurm@'127.0.0.1';
"""

_PRIVATE = 0o600


@dataclass(frozen=True)
class Ports:
    """TCP ports on 127.0.0.1."""

    slurmctld: int
    slurmd: int
    slurmdbd: int
    mariadbd: int


def free_ports() -> Ports:
    """Find ports on which nothing listens, below the kernel's range for outgoing connections."""
    candidates = random.SystemRandom().sample(range(20000, 32000), 200)  # random, as two clusters may start at once
    found = []
    for port in candidates:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
        if len(found) == 4:
            break
    return Ports(*found)


def write(state: Path) -> None:
    """Write all configuration files of a cluster into `state`."""
    for folder in ("etc", "munge", "log", "pid", "slurmctld", "slurmd", "mariadb", "tmp"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    values = {
        "state": state,
        "user": getpass.getuser(),
        "node": NODE,
        "cluster": CLUSTER,
        "cpus": max(4, os.cpu_count() or 1),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "ports": free_ports(),
        "password": secrets.token_hex(16),
    }
    _write_private(state / "munge" / "key", secrets.token_bytes(128))
    for name, text in (
        ("slurm.conf", _SLURM),
        ("gres.conf", _GRES),
        ("slurmdbd.conf", _SLURMDBD),
        ("mariadb.cnf", _MARIADB),
        ("database.sql", _DATABASE),
    ):
        _write_private(state / "etc" / name, text.format(**values).encode())


def _write_private(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.touch(_PRIVATE)
    path.write_bytes(content)
