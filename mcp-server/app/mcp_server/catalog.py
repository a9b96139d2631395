"""All tools, prompts and resources under the names that clients see. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from jsonschema.exceptions import SchemaError, UnknownType
from referencing.exceptions import Unresolvable
from servicekit.param_headers import ParamHeaders
from servicekit.schema_check import ArgumentCheck

from mcp_server.upstream import Inventory, WireObject

T = TypeVar("T")
_TEMPLATE_VARIABLE = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True, slots=True)
class Source:
    """One upstream's inventory, and what stands before its names."""

    name: str
    prefix: str
    inventory: Inventory


@dataclass(frozen=True)
class CatalogTool:
    """A tool under the name that clients see."""

    name: str
    source: str
    original_name: str
    wire: WireObject = field(compare=False)

    @property
    def input_schema(self) -> dict[str, Any]:
        """The JSON Schema of its arguments."""
        schema = self.wire.get("inputSchema")
        return dict(schema) if isinstance(schema, Mapping) else {"type": "object"}

    @cached_property
    def _check(self) -> ArgumentCheck:
        return ArgumentCheck(self.input_schema)

    def reject_invalid(self, arguments: Mapping[str, Any]) -> None:
        """Raise `ArgumentsInvalid` when the arguments don't fit the schema."""
        try:
            self._check.reject_invalid(arguments)
        except (SchemaError, UnknownType, Unresolvable, TypeError, re.error):
            # A foreign schema that can't be read checks nothing here; its server still does.
            return

    @cached_property
    def _mirrored(self) -> ParamHeaders:
        return ParamHeaders(self.wire.get("inputSchema"))

    def headers(self, arguments: Mapping[str, Any]) -> dict[str, str]:
        """Return the `Mcp-Param-…` headers that the tool's schema asks for."""
        return self._mirrored.of(arguments)


@dataclass(frozen=True, slots=True)
class CatalogPrompt:
    """A prompt under the name that clients see."""

    name: str
    source: str
    original_name: str
    wire: WireObject = field(compare=False)


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that the gateway offers at one moment.

    Where two sources offer the same name or URI, the first one wins; `shadowed` lists the
    names that lost.
    """

    tools: Mapping[str, CatalogTool]
    prompts: Mapping[str, CatalogPrompt]
    resources: Mapping[str, tuple[str, WireObject]]
    templates: tuple[tuple[str, WireObject], ...]
    shadowed: tuple[str, ...] = ()

    @classmethod
    def merge(cls, sources: Sequence[Source]) -> "Catalog":
        """Build the catalog; the order of the sources is their rank."""
        shadowed: list[str] = []
        return cls(
            tools=_first_wins(
                (
                    (name, CatalogTool(name, source.name, original, {**tool, "name": name}))
                    for source in sources
                    for tool, original, name in _named(source, source.inventory.tools)
                ),
                shadowed,
            ),
            prompts=_first_wins(
                (
                    (name, CatalogPrompt(name, source.name, original, {**prompt, "name": name}))
                    for source in sources
                    for prompt, original, name in _named(source, source.inventory.prompts)
                ),
                shadowed,
            ),
            resources=_first_wins(
                (
                    (str(resource["uri"]), (source.name, resource))
                    for source in sources
                    for resource in source.inventory.resources
                    if "uri" in resource
                ),
                shadowed,
            ),
            templates=tuple(
                (source.name, template)
                for source in sources
                for template in source.inventory.templates
            ),
            shadowed=tuple(shadowed),
        )

    def source_of_resource(self, uri: str) -> str | None:
        """Return the source that serves a URI: by its list, else by its templates."""
        if uri in self.resources:
            return self.resources[uri][0]
        for source, template in self.templates:
            if _template_matches(str(template.get("uriTemplate", "")), uri):
                return source
        return None

    def source_of_template(self, uri_template: str) -> str | None:
        """Return the source that offers a URI template."""
        for source, template in self.templates:
            if template.get("uriTemplate") == uri_template:
                return source
        return self.source_of_resource(uri_template)


def _named(source: Source, items: Iterable[WireObject]) -> Iterable[tuple[WireObject, str, str]]:
    for item in items:
        if isinstance(name := item.get("name"), str):
            yield item, name, source.prefix + name


def _first_wins(pairs: Iterable[tuple[str, T]], shadowed: list[str]) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, value in pairs:
        if name in found:
            shadowed.append(name)
        else:
            found[name] = value
    return found


def _template_matches(template: str, uri: str) -> bool:
    """Say whether a URI may come from a template (RFC 6570; any variable is any text).

    Literal by literal, each at its first place: where a variable is any text, no later place can
    do better. A regular expression would try them all, for hours on a long URI.
    """
    first, *others = _TEMPLATE_VARIABLE.split(template)
    if not others:
        return uri == first
    if not uri.startswith(first):
        return False
    *inner, last = others
    position = len(first)
    for literal in inner:
        found = uri.find(literal, position + 1)  # a variable has at least one character
        if found < 0:
            return False
        position = found + len(literal)
    return uri.endswith(last) and len(uri) - len(last) > position
