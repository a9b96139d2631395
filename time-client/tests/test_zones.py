import pytest
from time_client.errors import TimezoneUnknown
from time_client.known_places import ZONES_OF_PLACES
from time_client.zones import find_zone, nearest_zones, zone_names


@pytest.mark.parametrize("name", ["Asia/Tokyo", "asia/tokyo", " ASIA/TOKYO ", "UTC", "utc"])
def test_zone_is_found_whatever_its_case(name: str) -> None:
    assert find_zone(name).key.casefold() == name.strip().casefold()


def test_space_stands_for_underscore() -> None:
    assert find_zone("america/new york").key == "America/New_York"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("tokio", "Asia/Tokyo"),
        ("Tokyo", "Asia/Tokyo"),
        ("Europe/Berln", "Europe/Berlin"),
        ("Erope/Berlin", "Europe/Berlin"),
        ("Asia/Calcuta", "Asia/Calcutta"),
        ("newyork", "America/New_York"),
        ("New York", "America/New_York"),
        ("PST", "America/Los_Angeles"),
        ("San Francisco", "America/Los_Angeles"),
        ("san fransisco", "America/Los_Angeles"),
        ("Germany", "Europe/Berlin"),
        ("UTC+5", "Etc/GMT-5"),
        ("-03:00", "Etc/GMT+3"),
        ("Europe/Munich", "Europe/Berlin"),
    ],
)
def test_unknown_zone_names_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(TimezoneUnknown) as caught:
        find_zone(wrong)
    assert caught.value.extensions["nearest"][0] == right
    assert right in caught.value.detail


@pytest.mark.parametrize("name", ["Mars/Olympus_Mons_Base", "../../etc/passwd", "", "\0", "x" * 90])
def test_zone_near_nothing_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(TimezoneUnknown) as caught:
        find_zone(name)
    assert len(caught.value.detail) < 250


def test_machines_own_zone_is_no_name() -> None:
    assert not {"localtime", "Factory", "posixrules"} & set(zone_names())
    assert "Asia/Tokyo" in zone_names()


def test_suggestions_are_zones_themselves() -> None:
    for wrong in ("tokio", "berln", "sydny", "munich", "ist", "portland", "washington"):
        assert set(nearest_zones(wrong)) <= set(zone_names())


def test_every_suggested_place_leads_to_a_zone_that_exists() -> None:
    missing = {z for zones in ZONES_OF_PLACES.values() for z in zones} - set(zone_names())
    assert not missing
