"""The doors of the document: the document itself, and Swagger UI on it. Neither is public."""

from typing import Any
from urllib.parse import quote

import yaml
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from rest_framework.request import Request

from moolai.openapi.document import document
from orgs import rest
from orgs.browsable import POLICY

YAML = "application/yaml"
JSON = "application/json"
FORMATS = {"json": JSON, "yaml": YAML}
YAML_TYPES = (YAML, "application/vnd.oai.openapi", "application/x-yaml", "text/yaml")
DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # in C, which is several times as fast


class Door(rest.View):
    """A view that asks an unknown browser to sign in; an unknown program gets the 401 of every call."""

    def handle_exception(self, exc: Exception) -> Any:
        """Answer an error, or send a person to the console's login."""
        response = super().handle_exception(exc)
        shown = {"Authorization", "X-API-Key"} & set(self.request.headers)
        is_person = self.request.method == "GET" and not shown and _prefers_page(self.request)
        if response.status_code != 401 or not is_person:
            return response
        return HttpResponseRedirect(f"{reverse('admin:login')}?next={quote(self.request.get_full_path())}")


class Schema(Door):
    """`/api/schema/`."""

    @rest.operation(
        shape=rest.Shape.FLAT,
        parameters={"format": rest.one_of([*FORMATS], "JSON when left out, unless the Accept header wants YAML.")},
        content_types=(JSON, YAML),
    )
    def get(self, request: Request) -> HttpResponse:
        """Return this document."""
        if self.query["format"] == "yaml" or (not self.query["format"] and _prefers_yaml(request)):
            text = yaml.dump(document(), Dumper=DUMPER, sort_keys=False, allow_unicode=True)
            response = HttpResponse(text, content_type=YAML)
        else:
            response = JsonResponse(document())
        response["Vary"] = "Accept"
        return response


class Docs(Door):
    """`/api/docs/`: a page, so it is no part of the document."""

    schema = None

    @rest.operation(content_types=("text/html",))
    def get(self, request: Request) -> HttpResponse:
        """Show Swagger UI."""
        response = render(request._request, "api/docs.html")
        response["Content-Security-Policy"] = POLICY
        return response


def _prefers_page(request: Any) -> bool:
    return bool(request._request.get_preferred_type([JSON, "text/html"]) == "text/html")


def _prefers_yaml(request: Request) -> bool:
    return request._request.get_preferred_type([JSON, *YAML_TYPES]) in YAML_TYPES
