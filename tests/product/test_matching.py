"""Which records are one product, by what they say alone."""

from dataclasses import replace
from decimal import Decimal
from math import inf
from typing import Any

import pytest

from services.product.suppliers.domain import (
    SURE,
    UNSURE,
    Corpus,
    Pair,
    compare,
    one_to_one,
    probability,
    with_rivals,
)
from services.product.suppliers.words import Offer, Words, codes_in, gtin_in, model_in, words_in

# A shop of 10,000 records, whose commonest words stand in every tenth.
CORPUS = Corpus({"printer": 1_000, "laser": 800, "black": 1_000, "with": 1_000, "camera": 900}, 10_000)


def offer(name: str, **fields: Any) -> Offer:
    given: dict[str, Any] = {"description": "", "brand": "", "price": None, "currency": "USD"}
    return Offer(name=name, **(given | fields))


def alone(one: Offer, two: Offer) -> float:
    """How probable it is that two are one product, with no others near."""
    return probability(compare(Words(one), Words(two), CORPUS).score, -inf, -inf)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("Brother HL-2270DW Laser Printer", "HL2270DW laser printer, Brother"),
        ("Yamaha Digital Sound Projector - YSP3050BK", "Yamaha YSP-3050 Sound Projector - YSP-3050BL"),
        ("Encore Super Granny 3", "encore software 13790 - super granny 3 - win xp vista"),
        ("Café Crème Espresso Machine ECM-40X", "cafe creme espresso machine ecm40x"),
    ],
)
def test_what_is_written_in_two_ways_is_one_product(one: str, two: str) -> None:
    assert alone(offer(one), offer(two)) >= SURE


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("Brother Laser Printer", "Canon Laser Printer"),
        ("Black Camera with Case", "Camera with black Strap"),
        ("", ""),
    ],
)
def test_common_words_make_no_product(one: str, two: str) -> None:
    assert alone(offer(one), offer(two)) < UNSURE


def test_a_name_of_one_common_word_is_left_to_a_person() -> None:
    assert UNSURE <= alone(offer("printer"), offer("printer")) < SURE


def test_another_number_speaks_against_a_pair() -> None:
    office = offer("Zoetrope Studio 2006")
    same = alone(office, offer("Zoetrope Studio 2006 upgrade"))
    assert alone(office, offer("Zoetrope Studio 2007 upgrade")) < same


def test_another_price_speaks_against_a_pair_where_both_are_in_one_currency() -> None:
    case = offer("Garmin Carrying Case 010-10723-02", price=Decimal(30))
    near = alone(case, replace(case, price=Decimal(28)))
    far = alone(case, replace(case, price=Decimal(300)))
    unknown = alone(case, replace(case, price=Decimal(300), currency="EUR"))
    assert far < unknown < near
    assert alone(case, replace(case, price=Decimal(0))) == unknown


def test_a_gtin_decides_whatever_the_words_say() -> None:
    one = offer("Kettle", gtin="04006381333931")
    assert alone(one, offer("Wasserkocher", gtin="04006381333931")) == 1
    assert alone(one, replace(one, gtin="00012345678905")) == 0


def test_brand_and_model_decide_together_and_not_alone() -> None:
    one = offer("Kettle", brand="Acme", model="K-100/A")
    assert alone(one, offer("Wasserkocher", brand="ACME", model="k100a")) == 1
    assert alone(one, offer("Wasserkocher", brand="Other", model="k100a")) < 1
    assert alone(offer("Kettle", brand="Acme"), offer("Kettle", brand="Acme")) < 1


def test_a_pair_counts_less_where_another_fits_as_well() -> None:
    assert probability(0.0, -inf, -inf) > probability(0.0, 0.0, -inf) > probability(0.0, 0.0, 0.0)
    assert probability(0.0, -inf, -inf) > probability(0.0, -inf, 0.0)
    pairs = [Pair("a", "x", 1.0), Pair("a", "y", 1.0), Pair("b", "z", 1.0)]
    chances = {(pair.record, pair.other): pair.score for pair in with_rivals(pairs)}
    assert chances["a", "x"] == chances["a", "y"] < chances["b", "z"]


def test_each_record_is_matched_once_the_likeliest_first() -> None:
    pairs = [Pair("a", "x", 0.8), Pair("b", "x", 0.9), Pair("a", "y", 0.3), Pair("c", "z", 0.1)]
    assert [(pair.record, pair.other) for pair in one_to_one(pairs, 0.2)] == [("b", "x"), ("a", "y")]


def test_evidence_names_what_was_compared() -> None:
    one = offer("Brother HL-2270DW Laser Printer", price=Decimal(100))
    told = compare(Words(one), Words(replace(one, price=Decimal(200))), CORPUS).evidence()
    assert told["code"] == "hl2270dw"
    assert told["shared"][-2:] == ("laser", "printer")
    assert told["covered"] == [1.0, 1.0]
    assert told["price_ratio"] == pytest.approx(0.693, abs=0.001)


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("HL-2270DW", {"hl2270dw"}),
        ("SRSA212/BLK", {"srsa212blk"}),
        ("0624B002", {"0624b002"}),
        ("95w 1080p 5.8ghz 2007 mp3", set()),
        ("printer", set()),
        ("12345", {"12345"}),
    ],
)
def test_numbers_of_models_are_told_from_sizes_and_years(text: str, codes: set[str]) -> None:
    assert codes_in(text) == codes


def test_a_code_goes_on_with_letters_and_not_with_digits() -> None:
    one = Words(offer("Projector YSP3050"))
    assert compare(one, Words(offer("Projector YSP3050BK")), CORPUS).code
    assert not compare(one, Words(offer("Projector YSP30501")), CORPUS).code


@pytest.mark.parametrize(
    ("attributes", "gtin"),
    [
        ({"EAN": "4006381333931"}, "04006381333931"),
        ({"upc": "0 12345-67890 5"}, "00012345678905"),
        ({"gtin": "4006381333932"}, ""),
        ({"gtin": "0000000000000"}, ""),
        ({"gtin": "not known"}, ""),
        ({"colour": "4006381333931"}, ""),
    ],
)
def test_a_gtin_counts_with_its_check_digit_alone(attributes: dict[str, str], gtin: str) -> None:
    assert gtin_in(attributes) == gtin


def test_the_model_is_read_from_the_attributes() -> None:
    assert model_in({"Model Number": " K-100 "}) == "K-100"
    assert model_in({"colour": "red"}) == ""


def test_words_are_alike_in_any_case_accent_and_number() -> None:
    assert words_in("Crêpes™ MAKERS 5.8GHz") == ["crepe", "maker", "5.8", "ghz"]


def test_what_a_text_costs_is_bounded() -> None:
    words = Words(offer("a1b2c3 " * 2_000, description="x9y8z7 " * 5_000))
    many = Words(offer(" ".join(f"word{n} m{n:05}x" for n in range(500)), description="word " * 9_000))
    assert len(words.keys) < 20
    assert len(many.keys) < 250
    everywhere = Corpus(dict.fromkeys(many.keys, 2), 1_000)
    assert len(everywhere.rarest(many.keys)) == 12


def test_a_record_is_looked_for_by_what_others_have_too() -> None:
    own = [f"own{number}" for number in range(50)]
    corpus = Corpus({**dict.fromkeys(own, 1), "#k100": 2}, 1_000)
    assert corpus.rarest([*own, "#k100"]) == ["#k100"]
