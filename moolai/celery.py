"""The Celery application. Rows are the queue; a task is a wake-up that may get lost, a sweep finds the row anyway."""

import os

from celery import Celery

from moolai import broker

os.umask(0o077)  # manage.py does the same: what a process writes is for its own user only
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moolai.settings")

broker.register()
app = Celery("moolai")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
