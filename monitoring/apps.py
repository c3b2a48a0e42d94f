"""Django's handle on the app."""

from django.apps import AppConfig


class MonitoringConfig(AppConfig):
    """Names the app."""

    name = "monitoring"
    verbose_name = "Monitoring"
