"""Refresh tokens: long-lived sign-ins of the HTTP API, each usable once."""

from django.db import models

from orgs.models.user import User


class RefreshToken(models.Model):
    """One link of a sign-in's chain; using it makes the next one, using it again ends the whole sign-in."""

    token_hash = models.CharField(max_length=64, unique=True)
    sign_in_id = models.CharField(max_length=32, help_text="The sign-in all its successors share.")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="refresh_tokens")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "refresh_tokens"
        indexes = [
            models.Index(fields=["sign_in_id"], name="refresh_by_sign_in"),
            models.Index(fields=["expires_at"], name="refresh_by_expiry"),
        ]

    def __str__(self) -> str:
        return f"{self.user} {self.sign_in_id}"
