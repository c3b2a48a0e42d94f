"""Agents that tasks are assigned to, and the table that says which kind of task goes to which."""

from django.db import models
from django.db.models import Q

from orgs.models import Organization
from orgs.models.organization import validate_identifier
from orgs.names import NameField


class Agent(models.Model):
    """An agent of an organization: who does its tasks, and with which model."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        INACTIVE = "inactive"

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="agents")
    agent_id = models.CharField(max_length=50, validators=[validate_identifier])
    name = NameField(max_length=200)
    model = models.CharField(max_length=200, blank=True)
    system_prompt = models.TextField(blank=True)
    parameters = models.JSONField(default=dict, blank=True)
    capabilities = models.JSONField(default=list, blank=True, help_text="Task types it takes, as a list.")
    status = models.CharField(max_length=20, choices=Status, default=Status.ACTIVE)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "agents"
        ordering = ["agent_id"]
        constraints = [models.UniqueConstraint(fields=["organization", "agent_id"], name="agent_once")]

    def __str__(self) -> str:
        return f"{self.name} ({self.agent_id})"


class Route(models.Model):
    """Which agent a type of task goes to, in one organization or in all; `*` stands for every other type."""

    organization = models.ForeignKey(
        Organization, null=True, blank=True, on_delete=models.CASCADE, related_name="task_routes"
    )
    task_type = models.CharField(max_length=100)
    agent_id = models.CharField(max_length=50, validators=[validate_identifier])
    needs_approval = models.BooleanField(default=False, help_text="Its tasks wait for a person, whatever the priority.")

    class Meta:
        db_table = "task_routes"
        ordering = ["task_type"]
        constraints = [
            models.UniqueConstraint(fields=["organization", "task_type"], name="task_route_once"),
            models.UniqueConstraint(
                fields=["task_type"], condition=Q(organization__isnull=True), name="task_route_for_all_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task_type} → {self.agent_id}"
