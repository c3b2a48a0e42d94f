"""The door of the independence switches: POST `{"is_independent": true | false}`, answered at once as JSON."""

import json
from collections.abc import Callable
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse

from moolai import errors
from moolai.errors import AppError, InvalidInput


def switch(request: HttpRequest, change: Callable[[bool], dict[str, Any]]) -> HttpResponse:
    """Call `change` with the wanted value and answer what it returns; refusals keep the API's error shape."""
    try:
        if request.method != "POST":
            raise AppError("method_not_allowed", "POST the wanted value.")
        return JsonResponse({"success": True, "data": change(_wanted(request))})
    except (AppError, Http404, PermissionDenied, OperationalError, InterfaceError) as error:
        problem = errors.classify(error)
        return errors.respond(request, problem.code, problem.detail, fields=problem.fields)


def _wanted(request: HttpRequest) -> bool:
    try:
        body = json.loads(request.body)
    except ValueError:
        raise AppError("invalid_json") from None
    wanted = body.get("is_independent") if isinstance(body, dict) else None
    if not isinstance(wanted, bool):
        raise InvalidInput(fields={"is_independent": "Send true or false."})
    return wanted
