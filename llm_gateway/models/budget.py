"""Budget windows, and what processes hold of them."""

from django.db import models


class BudgetWindow(models.Model):
    """How much of one unit a subject used in one window of time, and how much of it processes hold (`leased`).

    `spent` is what the ledger says, written in its own transactions; it is kept for money alone. Nothing is granted
    beyond the limit: spent + leased never exceeds it when a slice is leased.
    """

    class Unit(models.TextChoices):
        USD_MICROS = "usd_micros"
        REQUESTS = "requests"
        TOKENS = "tokens"
        CALLS = "calls", "calls at once"

    organization_id = models.CharField(max_length=50)
    subject = models.CharField(max_length=300)
    unit = models.CharField(max_length=12, choices=Unit)
    window = models.CharField(max_length=10)
    start_at = models.BigIntegerField(help_text="Seconds since 1970; 0 for what does not end.")
    end_at = models.BigIntegerField(help_text="Seconds since 1970.")
    spent = models.BigIntegerField(default=0)
    leased = models.BigIntegerField(default=0)
    hungry_at = models.DateTimeField(null=True, help_text="When a process last got less than it needed.")

    class Meta:
        db_table = "budget_windows"
        constraints = [
            models.UniqueConstraint(fields=["subject", "unit", "window", "start_at"], name="one_budget_window_each")
        ]
        indexes = [models.Index(fields=["end_at"], name="budget_windows_by_end")]

    def __str__(self) -> str:
        return f"{self.subject} {self.unit} by {self.window}"


class BudgetLease(models.Model):
    """What one process holds of a window: `granted` to it in all, less `settled`, which the ledger has counted."""

    window = models.ForeignKey(BudgetWindow, on_delete=models.CASCADE, related_name="leases")
    holder = models.CharField(max_length=120)
    granted = models.BigIntegerField(default=0)
    settled = models.BigIntegerField(default=0)

    class Meta:
        db_table = "budget_leases"
        constraints = [models.UniqueConstraint(fields=["window", "holder"], name="one_lease_per_process")]
        indexes = [models.Index(fields=["holder"], name="budget_leases_by_holder")]

    def __str__(self) -> str:
        return f"{self.holder}: {self.granted - self.settled}"
