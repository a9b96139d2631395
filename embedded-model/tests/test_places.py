from zoneinfo import available_timezones

import pytest
from embedded_model.places import (
    Place,
    VaguePlace,
    count_cities,
    find_place,
    gazetteer,
    guess_place,
)


def test_more_cities_are_known_than_the_product_promises() -> None:
    assert count_cities() >= 400


def test_every_place_has_a_zone_that_exists() -> None:
    zones = {place.zone for place in gazetteer().values() if isinstance(place, Place)}
    assert zones <= available_timezones()


def test_every_zone_is_known_in_any_case() -> None:
    for zone in ("Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"):
        place = find_place(zone.upper())
        assert isinstance(place, Place)
        assert place.zone == zone


def test_country_with_many_zones_is_vague() -> None:
    assert isinstance(find_place("United States"), VaguePlace)
    assert isinstance(find_place("brazil"), VaguePlace)


def test_name_near_two_cities_is_no_guess() -> None:
    assert guess_place("Berln") is None  # Berlin, and Bern


def test_guess_takes_one_error_in_a_long_name() -> None:
    place = guess_place("Amsterdm")
    assert isinstance(place, Place)
    assert place.zone == "Europe/Amsterdam"


@pytest.mark.parametrize("name", ["Atlantis", "Gondor", "Parisa", "Mordor", "Londonia", "Rone"])
def test_name_that_is_more_than_a_slip_away_is_no_city(name: str) -> None:
    assert guess_place(name) is None


@pytest.mark.parametrize("name", ["Lodon", "Londno", "Londdon", "Pariss", "Moskow", "Sydny"])
def test_slip_of_the_hand_still_finds_the_city(name: str) -> None:
    assert isinstance(guess_place(name), Place)
