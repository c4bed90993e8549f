"""Background jobs: a durable queue in the database, and the runner."""

from progimage.jobs.job import KINDS, Job, State, UnknownJob, new_job_id
from progimage.jobs.queue import JobQueue
from progimage.jobs.runner import JobRunner, RetryLater
from progimage.jobs.wakes import Wakes

__all__ = ["KINDS", "Job", "JobQueue", "JobRunner", "RetryLater", "State", "UnknownJob", "Wakes", "new_job_id"]
