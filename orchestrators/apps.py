"""Django's handle on the app."""

from django.apps import AppConfig


class OrchestratorsConfig(AppConfig):
    """Names the app."""

    name = "orchestrators"
    verbose_name = "Orchestrators"
