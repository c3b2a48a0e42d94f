"""REST doors of activities: clients report what people do, members read what it comes to (API §5)."""

from datetime import timedelta
from typing import Any, Final

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from monitoring import activities, scope
from monitoring.models import Activity
from monitoring.rows import HOURS, ORGANIZATION
from moolai.errors import Forbidden, InvalidInput
from orgs import access, rest
from orgs.models import Role

MAX_METADATA_BYTES: Final = 16 * 1024


class ActivityRow(serializers.ModelSerializer[Activity]):
    """Something that somebody did."""

    metadata = serializers.DictField()

    class Meta:
        model = Activity
        fields = ["activity_id", "organization_id", "user_id", "activity_type", "metadata", "created_at"]


class Deed(serializers.Serializer[Any]):
    """What was done; `user_id` is the caller, where it is left out."""

    activity_type = serializers.ChoiceField(Activity.Kind.values)
    metadata = serializers.DictField(required=False, default=dict)
    user_id = serializers.CharField(required=False, max_length=200)


class UserCount(serializers.Serializer[Any]):
    """How much one user did."""

    organization_id = serializers.CharField()
    user_id = serializers.CharField()
    count = serializers.IntegerField()


class DayCount(serializers.Serializer[Any]):
    """How much was done on a day."""

    day = serializers.DateField()
    count = serializers.IntegerField()


class ActivitySummaryRow(serializers.Serializer[Any]):
    """What the activities of a span come to."""

    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    total = serializers.IntegerField()
    by_type = serializers.DictField(child=serializers.IntegerField())
    users = serializers.IntegerField(help_text="How many different users.")
    by_day = DayCount(many=True)
    top_users = UserCount(many=True)


class ActivitySummary(rest.View):
    """`/v1/performance/activity/summary`."""

    @rest.operation(ActivitySummaryRow, parameters={"organization_id": ORGANIZATION, "hours_back": HOURS})
    def get(self, request: Request) -> Response:
        """Answer how much was done: by type, by day, by whom most."""
        organizations = scope.organizations(request, self.query["organization_id"])
        until = timezone.now()
        since = until - timedelta(hours=self.query["hours_back"])
        found = activities.summarize(organizations=organizations, since=since, until=until)
        return rest.answer(ActivitySummaryRow(found).data)


class Tracking(rest.View):
    """`/v1/performance/activity/track`."""

    @rest.operation(
        ActivityRow,
        body=Deed,
        parameters={"organization_id": rest.Parameter("Where it was done, for who has several organizations.")},
        errors=("organization_required",),
    )
    def post(self, request: Request) -> Response:
        """Store what somebody did (operator)."""
        organization_id = scope.one(request, self.query["organization_id"])
        who = access.caller(request)
        if not who.is_superadmin and who.roles[organization_id] == Role.VIEWER:
            raise Forbidden
        body = rest.body(request, Deed)
        if len(str(body["metadata"]).encode("utf-8", "replace")) > MAX_METADATA_BYTES:
            raise InvalidInput(fields={"metadata": f"At most {MAX_METADATA_BYTES} bytes."})
        row = activities.track(
            body["activity_type"],
            organization_id=organization_id,
            user_id=body.get("user_id") or who.name,
            metadata=body["metadata"],
        )
        return rest.answer(ActivityRow(row).data)
