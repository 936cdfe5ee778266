"""A cluster job: the command that trains on a laptop, submitted to a Ray cluster.

    ray start --head                                                # or a cluster that you have
    python examples/tutorials/cluster_job.py --address http://127.0.0.1:8265

The job brings the current folder, so nodes need the dependencies and not the code. `--storage`
must be a place that outlives the nodes, such as `s3://bucket/runs`.
"""

from __future__ import annotations

import argparse
import sys
import time

from ray.job_submission import JobStatus, JobSubmissionClient
from rich.console import Console
from rich.table import Table

TRAIN = "python -m rllib_seq train examples/tutorials/own_environment.py --stop-steps 20000"


def submit(address: str, command: str, working_dir: str = ".") -> JobStatus:
    """Submit a command, follow it to its end, and print a table about the job.

    Args:
        address: of the cluster's dashboard; with token authentication, set `RAY_AUTH_TOKEN`.
        command: what runs on the cluster.
        working_dir: the folder that the job brings; what `.gitignore` names stays behind.
    """
    client = JobSubmissionClient(address)
    job = client.submit_job(entrypoint=command, runtime_env={"working_dir": working_dir})
    print(f"submitted {job}")
    while not client.get_job_status(job).is_terminal():
        time.sleep(1.0)
    info = client.get_job_info(job)
    table = Table("job", "status", "seconds", "last line")
    lines = client.get_job_logs(job).strip().splitlines() or [""]
    seconds = (info.end_time - info.start_time) / 1000
    table.add_row(job, info.status.value, f"{seconds:.0f}", lines[-1])
    Console().print(table)
    return info.status


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", default="http://127.0.0.1:8265")
    parser.add_argument("--storage", default="runs", help="a folder of all nodes, or a URI")
    arguments = parser.parse_args()
    status = submit(arguments.address, f"{TRAIN} --storage {arguments.storage}")
    sys.exit(0 if status == JobStatus.SUCCEEDED else 1)
