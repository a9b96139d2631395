"""The merged catalog: names, rank, templates, schemas."""

import pytest
from mcp_server.catalog import Catalog, Source
from mcp_server.upstream import Inventory
from servicekit.errors import ArgumentsInvalid


def source(name: str, *tools: str, prefix: str = "") -> Source:
    return Source(name, prefix, Inventory(tools=tuple({"name": tool} for tool in tools)))


def test_foreign_names_carry_their_prefix_and_their_original() -> None:
    catalog = Catalog.merge([source("own", "now"), source("other", "now", prefix="other__")])
    assert list(catalog.tools) == ["now", "other__now"]
    assert catalog.tools["other__now"].original_name == "now"
    assert catalog.tools["other__now"].wire["name"] == "other__now"
    assert catalog.shadowed == ()


def test_first_source_wins_where_names_clash() -> None:
    catalog = Catalog.merge([source("first", "now"), source("second", "now", "then")])
    assert catalog.tools["now"].source == "first"
    assert catalog.tools["then"].source == "second"
    assert catalog.shadowed == ("now",)


def test_tool_without_a_name_is_left_out() -> None:
    catalog = Catalog.merge([Source("odd", "", Inventory(tools=({"title": "x"}, {"name": 5})))])
    assert not catalog.tools


@pytest.mark.parametrize(
    ("uri", "owner"),
    [
        ("test://static", "files"),
        ("test://item/5/data", "items"),
        ("test://item//data", None),
        ("test://item/5/data/more", None),
        ("other://static", None),
    ],
)
def test_resource_belongs_to_whoever_lists_it_or_its_template(uri: str, owner: str | None) -> None:
    catalog = Catalog.merge(
        [
            Source("files", "", Inventory(resources=({"uri": "test://static"},))),
            Source("items", "", Inventory(templates=({"uriTemplate": "test://item/{id}/data"},))),
        ]
    )
    assert catalog.source_of_resource(uri) == owner


@pytest.mark.parametrize(
    ("template", "uri", "is_match"),
    [
        ("x://{a}", "x://", False),
        ("x://{a}", "x://1", True),
        ("x://{a}{b}", "x://1", False),
        ("x://{a}{b}", "x://12", True),
        ("x://{a}/{b}!", "x://1/2!", True),
        ("x://{a}/{b}!", "x://1/!", False),
        ("x://{a}/{b}/c", "x://1/2/3/c", True),
        ("x://a", "x://ab", False),
    ],
)
def test_each_variable_stands_for_some_text(template: str, uri: str, is_match: bool) -> None:
    inventory = Inventory(templates=({"uriTemplate": template},))
    catalog = Catalog.merge([Source("odd", "", inventory)])
    assert (catalog.source_of_resource(uri) == "odd") is is_match


@pytest.mark.timeout(5)
def test_long_uri_is_matched_at_once() -> None:
    template = {"uriTemplate": "x://{a}/{b}/{c}/{d}/{e}!"}
    catalog = Catalog.merge([Source("odd", "", Inventory(templates=(template,)))])
    assert catalog.source_of_resource("x://" + "/" * 200_000) is None


def test_template_matching_takes_no_regular_expressions_from_upstreams() -> None:
    template = {"uriTemplate": "test://(a+)+$/{id}"}
    catalog = Catalog.merge([Source("odd", "", Inventory(templates=(template,)))])
    assert catalog.source_of_resource("test://aaaa/1") is None
    assert catalog.source_of_resource("test://(a+)+$/1") == "odd"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"$ref": "https://elsewhere.example/schema"},
        {"properties": {"a": {"pattern": "("}}},
    ],
)
def test_schema_that_cannot_be_read_refuses_nothing(schema: dict[str, object]) -> None:
    tool = {"name": "odd", "inputSchema": schema}
    catalog = Catalog.merge([Source("odd", "", Inventory(tools=(tool,)))])
    catalog.tools["odd"].reject_invalid({"a": "b"})


def test_arguments_are_checked_and_mirrored_into_headers() -> None:
    schema = {
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
        "required": ["region"],
    }
    tool = {"name": "deploy", "inputSchema": schema}
    catalog = Catalog.merge([Source("cloud", "", Inventory(tools=(tool,)))])
    deploy = catalog.tools["deploy"]
    with pytest.raises(ArgumentsInvalid, match="region"):
        deploy.reject_invalid({})
    assert deploy.headers({"region": "eu"}) == {"Mcp-Param-Region": "eu"}
