"""Django's handle on the app."""

from django.apps import AppConfig


class LlmGatewayConfig(AppConfig):
    """Names the app."""

    name = "llm_gateway"
    verbose_name = "LLM gateway"
