"""Work in the background that survives whoever does it: a durable queue in the database, and who takes from it."""

from progimage.jobs.job import KINDS, Job, State, UnknownJob, new_job_id
from progimage.jobs.queue import JobQueue
from progimage.jobs.runner import JobRunner, Later
from progimage.jobs.wakes import Wakes

__all__ = ["KINDS", "Job", "JobQueue", "JobRunner", "Later", "State", "UnknownJob", "Wakes", "new_job_id"]
