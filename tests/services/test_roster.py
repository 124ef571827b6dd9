"""What the roster says of a service is what its folder, its settings and the contract say."""

import importlib
from pathlib import Path

import pytest

import services
from gateway.contract.protoc import PROTOS
from gateway.generate import read_contract
from services.roster import NAMES, SERVICES, Service
from services.settings import SettingsError, load


def test_every_service_has_its_folder_and_its_area_of_the_contract() -> None:
    folders = {main.parent.name for main in Path(services.__file__).parent.glob("*/__main__.py")}
    # Every service offers the feed, which is nobody's own.
    areas = {method.area for method in read_contract(PROTOS).methods} - {"event"}
    assert folders == areas == set(NAMES)
    assert len({service.port for service in SERVICES}) == len(SERVICES)


@pytest.mark.parametrize("service", SERVICES, ids=NAMES)
def test_a_service_asks_for_the_settings_of_what_it_uses_and_no_others(service: Service) -> None:
    main = importlib.import_module(f"services.{service.name}.__main__")
    with pytest.raises(SettingsError) as refusal:
        load(main.ServeSettings, {})
    asked = {problem.split()[0] for problem in refusal.value.problems}
    addresses = {name: f"COMMERCE_{name.upper()}_ADDRESS" for name in NAMES}
    assert asked & {*addresses.values()} == {addresses[peer] for peer in service.calls}
    assert ("COMMERCE_SIGNING_KEY_FILE" in asked) == service.signs_tokens
    assert ("COMMERCE_REDIS_URL" in asked) == service.uses_cache
    assert ("COMMERCE_PAYMENT_URL" in asked) == service.uses_payment
    assert ("COMMERCE_MAIL_URL" in asked) == service.sends_mail


def test_whom_a_method_lets_in_is_given_its_address() -> None:
    let_in = {
        (caller, method.area)
        for method in read_contract(PROTOS).methods
        for caller in method.rules.internal.services
        if caller in NAMES and method.area in NAMES
    }
    assert let_in
    assert let_in <= {(service.name, peer) for service in SERVICES for peer in service.calls}
