"""REST door of the audit trail (API §4): read by administrators, written by nobody."""

from typing import Final

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from moolai.errors import Forbidden
from orgs import access, rest
from orgs.models import AuditEntry, Role

EXACT: Final = ("actor", "action", "target_type", "target_id", "request_id")


class AuditRow(serializers.ModelSerializer[AuditEntry]):
    """One change: who, what, when, from where, from which value to which, and its link in the chain."""

    before = serializers.DictField(allow_null=True)
    after = serializers.DictField(allow_null=True)

    class Meta:
        model = AuditEntry
        fields = [
            "id", "organization_id", "sequence", "actor", "action", "target_type", "target_id", "before", "after",
            "reason", "remote_address", "request_id", "created_at", "previous_hash", "hash",
        ]  # fmt: skip


class AuditTrail(rest.View):
    """`/api/v1/internal/audit`."""

    @rest.operation(
        AuditRow,
        shape=rest.Shape.PAGE,
        parameters={
            "organization_id": rest.Parameter("Only this organization's chain."),
            "actor": rest.Parameter("Who made the change, exactly as shown."),
            "action": rest.Parameter("What was done, such as organization.update."),
            "target_type": rest.Parameter("Changes of this kind of object."),
            "target_id": rest.Parameter("Changes of the object with this public id."),
            "request_id": rest.Parameter("Changes made by this request."),
            "since": rest.Parameter("From this moment on.", "date-time"),
            "until": rest.Parameter("Until before this moment.", "date-time"),
        },
    )
    def get(self, request: Request) -> Response:
        """List the changes, newest first."""
        rows = _readable(request, self.query["organization_id"])
        rows = rows.filter(**{name: self.query[name] for name in EXACT if self.query[name]})
        if since := self.query["since"]:
            rows = rows.filter(created_at__gte=since)
        if until := self.query["until"]:
            rows = rows.filter(created_at__lt=until)
        return rest.page(request, rows.order_by("-id"), AuditRow)


def _readable(request: Request, organization_id: str | None) -> QuerySet[AuditEntry]:
    """Return the chains the caller may read: a superadmin's are all, also those of organizations that are gone."""
    who = access.caller(request)
    wanted = organization_id or access.chosen(request)
    if who.is_superadmin:
        return AuditEntry.objects.filter(organization_id=wanted) if wanted else AuditEntry.objects.all()
    rows = access.narrow(request, AuditEntry.objects.all())
    administered = {key for key, role in who.roles.items() if role == Role.ADMIN}
    if not (administered & {wanted} if wanted else administered):
        raise Forbidden
    return rows.filter(organization_id__in=administered)
