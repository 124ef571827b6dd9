"""Listing the parts of a mesh makes nothing; what they read is made apart, before."""

from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local.errors import MeshError
from deploy.local.layout import Layout, Options
from deploy.local.parts.blueprint import Blueprint, build, make_secrets, used_ports
from deploy.local.parts.certificates import Authority
from deploy.local.parts.part import Part
from deploy.local.supervision.checks import open_data_folder


def blueprint(tmp_path: Path, *, is_outside: bool) -> Blueprint:
    options = Options(tmp_path / "data", replica=not is_outside, workers=2)
    if is_outside:
        options = replace(
            options,
            postgres_url="postgresql://someone:secret@db.example:5432",
            redis_url="redis://:secret@cache.example:6379/0",
            payment_url="https://pay.example",
            payment_api_key_file=tmp_path / "key",
            smtp_url="smtp://me:secret@mail.example:2525",
            mail_sender="hello@shop.example",
            mail_product="The Shop",
            mail_link_base="https://shop.example/",
        )
    layout = Layout(options.data)
    return Blueprint(options, layout, Authority(layout.certificates), tmp_path / "runtime")


@pytest.mark.parametrize("is_outside", [False, True])
def test_listing_the_parts_writes_nothing(tmp_path: Path, is_outside: bool) -> None:
    plan = blueprint(tmp_path, is_outside=is_outside)
    assert build(plan)
    assert used_ports(plan)
    assert plan.server_url
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(("tells_schema", "told"), [(True, "1"), (False, "0")])
def test_graphql_tells_its_schema_unless_the_mesh_is_told_otherwise(
    tmp_path: Path, tells_schema: bool, told: str
) -> None:
    plan = blueprint(tmp_path, is_outside=False)
    parts = build(replace(plan, options=replace(plan.options, graphql_schema=tells_schema)))
    [app] = [part for part in parts if isinstance(part, Part) and part.name == "app"]
    assert app.environment["COMMERCE_GRAPHQL_SCHEMA"] == told


def test_an_origin_that_no_browser_writes_is_refused_before_anything_starts(tmp_path: Path) -> None:
    plan = blueprint(tmp_path, is_outside=False)
    with pytest.raises(MeshError, match=r"--cors-origin: '\*' is no origin"):
        build(replace(plan, options=replace(plan.options, cors_origin=("https://shop.example", "*"))))


@pytest.mark.parametrize("is_outside", [False, True])
def test_every_secret_that_a_part_is_given_is_made(tmp_path: Path, is_outside: bool) -> None:
    plan = blueprint(tmp_path, is_outside=is_outside)
    open_data_folder(plan.layout)
    make_secrets(plan)
    values = [value for part in build(plan) if isinstance(part, Part) for value in part.environment.values()]
    given = {Path(value) for value in values if Path(value).parent == plan.layout.secrets}
    assert len(given) > 5
    assert [path.name for path in given if not path.read_bytes()] == []
    assert not any("secret@" in value for value in values)


def test_mails_go_to_files_of_the_mesh_or_to_a_server_of_others(tmp_path: Path) -> None:
    ours, outside = (
        mail_settings(tmp_path / name, is_outside=name == "outside") for name in ("ours", "outside")
    )
    assert ours.keys() == {"COMMERCE_MAIL_URL", "COMMERCE_MAIL_TOKEN_KEY_FILE"}
    assert ours["COMMERCE_MAIL_URL"] == (tmp_path / "ours" / "data" / "mail").as_uri()
    assert outside["COMMERCE_MAIL_URL"] == "smtp://me@mail.example:2525"
    assert outside["COMMERCE_MAIL_SENDER"] == "hello@shop.example"
    assert outside["COMMERCE_MAIL_PRODUCT"] == "The Shop"
    assert outside["COMMERCE_MAIL_LINK_BASE"] == "https://shop.example"
    assert Path(outside["COMMERCE_SMTP_PASSWORD_FILE"]).read_text() == "secret"


def mail_settings(folder: Path, *, is_outside: bool) -> dict[str, str]:
    """Return what of the user service's environment is about mail."""
    folder.mkdir()
    plan = blueprint(folder, is_outside=is_outside)
    open_data_folder(plan.layout)
    make_secrets(plan)
    user = next(part for part in build(plan) if isinstance(part, Part) and part.name.startswith("user"))
    return {name: text for name, text in user.environment.items() if "MAIL" in name or "SMTP" in name}


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        ("mail_sender", "not an address"),
        ("mail_product", "two\nlines"),
        ("mail_link_base", "ftp://shop.example"),
        ("public_url", "https://shop.example/oauth"),
    ],
)
def test_what_no_mail_could_be_written_with_is_refused_before_anything_starts(
    tmp_path: Path, option: str, wrong: str
) -> None:
    plan = blueprint(tmp_path, is_outside=False)
    with pytest.raises(MeshError, match=f"--{option.replace('_', '-')}"):
        build(replace(plan, options=replace(plan.options, **{option: wrong})))  # type: ignore[arg-type]


def test_a_mail_server_is_named_by_a_url_of_smtp(tmp_path: Path) -> None:
    plan = blueprint(tmp_path, is_outside=False)
    plan = replace(plan, options=replace(plan.options, smtp_url="https://mail.example"))
    with pytest.raises(MeshError, match="--smtp-url is not a URL of smtp"):
        build(plan)


def test_secrets_that_are_there_are_kept(tmp_path: Path) -> None:
    plan = blueprint(tmp_path, is_outside=False)
    open_data_folder(plan.layout)
    make_secrets(plan)
    before = {path: path.read_bytes() for path in plan.layout.secrets.iterdir()}
    make_secrets(plan)
    assert {path: path.read_bytes() for path in plan.layout.secrets.iterdir()} == before
