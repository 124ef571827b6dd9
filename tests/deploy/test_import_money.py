"""Prices and other numbers of files: taken as they stand, refused by name, value and rule, never guessed."""

from decimal import Decimal
from pathlib import Path

import pytest

from deploy.local.imports import product_file
from deploy.local.imports.numerals import NumberRefused, decide_decimal_mark, parse_number
from tests.deploy.importing import Judged, judged


def priced(folder: Path, *prices: str, currency: str = "") -> Judged:
    rows = "".join(f"S{number}|Kettle|{price}\n" for number, price in enumerate(prices))
    return judged(folder, f"sku|name|price\n{rows}", currency=currency)


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        ("€9.99", ("EUR", 9, 990_000_000)),
        ("9.99 GBP", ("GBP", 9, 990_000_000)),
        ("9.9 gbp", ("GBP", 9, 900_000_000)),
        ("Rs.1,299.00 INR", ("INR", 1299, 0)),
        ("₹1,49,900.50", ("INR", 149_900, 500_000_000)),
        ("CHF 1'250.00", ("CHF", 1250, 0)),
        ("1 250,50 zł", ("PLN", 1250, 500_000_000)),
        ("₪ 12.90", ("ILS", 12, 900_000_000)),
        ("$9.99", ("USD", 9, 990_000_000)),
        ("0.000000001 EUR", ("EUR", 0, 1)),
    ],
)
def test_a_price_takes_its_currency_from_its_text(
    tmp_path: Path, price: str, expected: tuple[str, int, int]
) -> None:
    assert priced(tmp_path, price, currency="USD" if "$" in price else "").prices == [expected]


@pytest.mark.parametrize(
    ("price", "reason"),
    [
        ("", "PRICE_MISSING"),
        ("free", "PRICE_INVALID"),
        ("1.2.3", "PRICE_INVALID"),
        ("$9,9.9", "PRICE_INVALID"),
        ("9.99-19.99", "PRICE_INVALID"),
        ("9.99 XQQ", "PRICE_INVALID"),
        ("-1.50", "PRICE_NEGATIVE"),
        ("9" * 30, "PRICE_TOO_PRECISE"),
        ("2000000000", "PRICE_TOO_LARGE"),
        ("0.0000000001", "PRICE_TOO_PRECISE"),
        ("1.0000000000000000000000000000001", "PRICE_TOO_PRECISE"),
        ("1.250", "PRICE_AMBIGUOUS"),
        ("1,250", "PRICE_AMBIGUOUS"),
    ],
)
def test_a_price_that_cannot_be_taken_as_it_stands_is_refused(
    tmp_path: Path, price: str, reason: str
) -> None:
    found = priced(tmp_path, price, currency="USD")
    assert (found.rows, found.refusals) == ([], [(2, "price", reason)])
    assert found.outcomes[0].value == price


def test_a_sign_of_many_currencies_is_refused_where_nothing_chooses(tmp_path: Path) -> None:
    assert priced(tmp_path, "$9.99").refusals == [(2, "price", "CURRENCY_AMBIGUOUS")]


def test_a_price_that_says_nothing_beside_euros_is_no_dollar(tmp_path: Path) -> None:
    found = priced(tmp_path, "€9.99", "5.00")
    assert found.prices == [("EUR", 9, 990_000_000)]
    assert found.refusals == [(3, "price", "CURRENCY_MISSING")]


def test_a_price_and_a_column_that_contradict_are_refused(tmp_path: Path) -> None:
    text = "sku,name,price,currency\nA,Kettle,€9.99,USD\nB,Pot,$9.99,CAD\nC,Pan,9.99,chf\nD,Lid,9,dollars\n"
    found = judged(tmp_path, text)
    assert found.prices == [("CAD", 9, 990_000_000), ("CHF", 9, 990_000_000)]
    assert found.refusals == [(2, "price", "CURRENCY_CONTRADICTS"), (5, "price", "CURRENCY_INVALID")]


@pytest.mark.parametrize(
    ("others", "units"), [(["12,50"], 1250), (["1.250,00"], 1250), (["1.250.000"], 1250), (["9.99"], 1)]
)
def test_what_begins_decimals_is_decided_by_the_column(tmp_path: Path, others: list[str], units: int) -> None:
    assert priced(tmp_path, "1.250", *others).prices[0][1] == units


def test_a_column_that_contradicts_itself_decides_nothing(tmp_path: Path) -> None:
    found = priced(tmp_path, "9.99", "9,99", "1.250")
    assert [units for _, units, _ in found.prices] == [9, 9]
    assert found.refusals == [(4, "price", "PRICE_AMBIGUOUS")]


@pytest.mark.parametrize(
    ("texts", "mark"), [(["1.250"], ""), (["0,250"], ","), (["1250.125"], "."), (["1,250.5"], "."), ([], "")]
)
def test_the_mark_that_numbers_show(texts: list[str], mark: str) -> None:
    assert decide_decimal_mark(texts) == mark


@pytest.mark.parametrize("text", ["1,25", "1.250,00", "1,2,3", "", "1e5", "١٢", "1,250'000"])
def test_a_number_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(NumberRefused):
        parse_number(text, ".")


def test_groups_of_digits_are_read() -> None:
    assert parse_number("12,34,567.80", ".") == Decimal("1234567.80")


@pytest.mark.parametrize(
    ("price", "reason"),
    [
        ("[1]", "PRICE_INVALID"),
        ('{"amount": 1}', "PRICE_INVALID"),
        ('{"currencyCode": "EUR"}', "PRICE_INVALID"),
        ('{"units": "three"}', "PRICE_INVALID"),
        ("true", "PRICE_INVALID"),
        ("NaN", "PRICE_INVALID"),
        ("1e-10", "PRICE_TOO_PRECISE"),
        ("1e30000000", "PRICE_INVALID"),
        ("1e99999999999999999999", "PRICE_INVALID"),
    ],
)
def test_a_price_of_another_shape_is_refused(tmp_path: Path, price: str, reason: str) -> None:
    found = judged(tmp_path, f'[{{"sku": "A", "name": "Kettle", "price": {price}}}]')
    assert (found.rows, found.refusals) == ([], [(1, "price", reason)])


def test_a_price_may_have_the_api_s_own_form(tmp_path: Path) -> None:
    rows = """[{"sku": "A", "name": "K", "price": {"currencyCode": "EUR", "units": "24", "nanos": 999999999}},
               {"sku": "B", "name": "K", "price": {"currencyCode": "USD", "units": 3}}]"""
    assert judged(tmp_path, rows).prices == [("EUR", 24, 999_999_999), ("USD", 3, 0)]


@pytest.mark.parametrize("price", ['{"units": 3}', "0.0002", '"9.99"'])
def test_a_price_that_says_nothing_is_in_dollars_where_no_row_says_a_currency(
    tmp_path: Path, price: str
) -> None:
    alone = f'{{"sku": "A", "name": "K", "price": {price}}}'
    assert [code for code, _, _ in judged(tmp_path, f"[{alone}]").prices] == ["USD"]
    for said in ('"€1"', '{"currencyCode": "EUR", "units": 1}', '1, "currency": "EUR"'):
        found = judged(tmp_path, f'[{alone}, {{"sku": "B", "name": "K", "price": {said}}}]')
        assert found.refusals == [(1, "price", "CURRENCY_MISSING")]


def test_a_currency_that_is_said_behind_the_survey_ends_what_was_assumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(product_file, "SURVEY_RECORDS", 2)
    found = priced(tmp_path, "9.99", "9.99", "9.99", "€9.99", "9.99")
    assert [code for code, _, _ in found.prices] == ["USD", "USD", "USD", "EUR"]
    assert found.refusals == [(6, "price", "CURRENCY_MISSING")]
    assert found.currency_said_at == 5
    assert priced(tmp_path, "9.99", "9.99", "€9.99", "9.99", currency="CHF").prices[-1][0] == "CHF"


def test_a_price_of_zero_is_remarked(tmp_path: Path) -> None:
    found = priced(tmp_path, "0.00")
    assert (found.prices, found.remarks) == ([("USD", 0, 0)], [("price", "PRICE_ZERO")])


@pytest.mark.parametrize("stock", ["2.7", '"2.7"', '"many"', "-1", "1e30", "true", '"nan"'])
def test_a_stock_that_is_no_whole_number_is_refused(tmp_path: Path, stock: str) -> None:
    found = judged(tmp_path, f'[{{"sku": "A", "name": "Kettle", "price": 1, "stock": {stock}}}]')
    assert (found.rows, found.refusals) == ([], [(1, "stock", "STOCK_INVALID")])


@pytest.mark.parametrize(
    ("active", "expected"), [("true", True), ("false", False), ('"0"', False), ("null", True)]
)
def test_active_is_true_or_false(tmp_path: Path, active: str, *, expected: bool) -> None:
    found = judged(tmp_path, f'[{{"sku": "A", "name": "Kettle", "price": 1, "active": {active}}}]')
    assert [product.active for product in found.products] == [expected]


@pytest.mark.parametrize("active", ['"no"', '"yes"', "2", "[]"])
def test_active_that_is_neither_is_refused(tmp_path: Path, active: str) -> None:
    found = judged(tmp_path, f'[{{"sku": "A", "name": "Kettle", "price": 1, "active": {active}}}]')
    assert (found.rows, found.refusals) == ([], [(1, "active", "ACTIVE_INVALID")])
    assert " active_words or inactive_words " in found.outcomes[0].message
