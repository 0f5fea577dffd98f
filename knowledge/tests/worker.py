"""A worker of its own process, to be killed: python -m knowledge.tests.worker BUSINESS JOB."""

from __future__ import annotations

import sys

import django

if __name__ == "__main__":
    django.setup()
    from knowledge.tasks import run_training

    run_training(business_id=int(sys.argv[1]), training_job_id=sys.argv[2])
