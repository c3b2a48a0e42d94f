"""One operation of the document, from a view's method: `Operation` says all, drf-spectacular maps the serializers."""

import inspect
from typing import Any

from drf_spectacular.drainage import error
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ComponentRegistry, ResolvedComponent
from rest_framework import serializers

from moolai.openapi import answers, naming, requests
from orgs import operations, rest
from orgs.operations import Operation, Shape

Part = dict[str, Any]
READS = ("GET", "HEAD")


class Schema(AutoSchema):
    """Describes a method that carries `@rest.operation`; without one, generation complains."""

    def get_operation(
        self, path: str, path_regex: str, path_prefix: str, method: str, registry: ComponentRegistry
    ) -> Part | None:
        """Return the operation object of one method, None for one that is not described."""
        self.registry, self.path, self.method = registry, path, method.upper()
        self.path_regex, self.path_prefix = path_regex, path_prefix
        described = operations.of(self.view, self.method)
        if described is None:
            error(f"{self.method} {path} has no @rest.operation")
            return None
        is_public = isinstance(self.view, rest.PublicView)
        flags = {"is_write": self.method not in READS, "is_public": is_public}
        summary, details = _words(getattr(self.view, self.method.lower()))
        return {
            "operationId": naming.operation_id(path, self.method, described),
            "summary": summary,
            **({"description": details} if details else {}),
            "tags": [naming.tag(path)],
            "parameters": requests.parameters(path, path_regex, described, **flags),
            **({"requestBody": self._body(described)} if described.body else {}),
            **_security(self.view, is_public=is_public),
            "responses": self._responses(described, **flags),
        }

    def _body(self, described: Operation) -> Part:
        assert described.body is not None
        component = self.resolve_serializer(described.body, "request")  # type: ignore[arg-type]
        if component:
            component.schema["additionalProperties"] = False  # an unknown field is refused
        schema = component.ref if component else {"type": "object", "additionalProperties": False}
        return {
            "content": {"application/json": {"schema": schema}},
            "required": not described.body_may_be_empty,
        }

    def _responses(self, described: Operation, *, is_write: bool, is_public: bool) -> Part:
        is_limited = getattr(self.view, "rate", None) is not None
        found = answers.codes(described, is_write=is_write, is_public=is_public, is_limited=is_limited)
        good = answers.success(
            described, self._data(described), is_write=is_write and not is_public, is_limited=is_limited
        )
        return {str(described.status): good, **answers.failures(found, is_limited=is_limited)}

    def _data(self, described: Operation) -> Part:
        """Return the schema of what a success holds."""
        if described.data is None:
            return {"type": "object"}
        component = self.resolve_serializer(described.data, "response")  # type: ignore[arg-type]
        item: Part = component.ref if component else {"type": "object"}
        if described.shape is not Shape.PAGE:
            return item
        name = component.name if component else "Object"
        page = ResolvedComponent(  # type: ignore[no-untyped-call]
            f"{name}Page", ResolvedComponent.SCHEMA, answers.page(item), described.data
        )
        self.registry.register_on_missing(page)
        return dict(page.ref)

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> Part:
        """Call every column of an answered row required: a model's default makes it optional on input only."""
        schema: Part = super()._map_basic_serializer(serializer, direction)  # type: ignore[no-untyped-call]
        if direction == "response" and isinstance(serializer, serializers.ModelSerializer):
            schema["required"] = sorted(schema.get("properties", {}))
        return schema


def _security(view: Any, *, is_public: bool) -> Part:
    """Return who may call where that is not everybody with a credential; to `{}`, nobody, the document adds those."""
    if is_public:
        return {"security": []}
    return {} if view.permission_classes else {"security": [{}]}


def _words(method: Any) -> tuple[str, str]:
    """Split a docstring into its first sentence and the rest."""
    first, _, rest_of_it = (inspect.getdoc(method) or "").partition("\n\n")
    return " ".join(first.split()).removesuffix("."), rest_of_it.strip()
