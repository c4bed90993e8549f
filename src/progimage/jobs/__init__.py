"""Work in the background that survives whoever does it: a durable queue in the database, and who takes from it."""

from progimage.jobs.queue import Job, JobQueue, State, UnknownJob, new_job_id, prepare
from progimage.jobs.runner import JobRunner, Later

__all__ = ["Job", "JobQueue", "JobRunner", "Later", "State", "UnknownJob", "new_job_id", "prepare"]
