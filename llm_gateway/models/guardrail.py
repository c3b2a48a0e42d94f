"""Guardrails: the rules that an organization's requests and answers have to pass."""

from django.db import models

from orgs.models import Organization


class Guardrails(models.Model):
    """An organization's rules, in their order: `llm_gateway/guardrails/rules.py` says what they look like."""

    organization = models.OneToOneField(Organization, primary_key=True, on_delete=models.CASCADE, related_name="+")
    rules = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "llm_guardrails"
        verbose_name_plural = "guardrails"

    def __str__(self) -> str:
        return str(self.organization_id)
