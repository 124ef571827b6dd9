"""The gateway's app: one process behind the edge, with a certificate of its own and no database."""

from deploy.local.files import ensure_secret
from deploy.local.layout import Layout, Options
from deploy.local.parts.certificates import Authority
from deploy.local.parts.handed_on import checked
from deploy.local.parts.part import Part
from deploy.local.parts.privileges import python_module
from services.roster import GATEWAY
from services.settings import public_url

APP = "app"
_FORM_KEY = "app_forms"


def make_app_secrets(layout: Layout) -> None:
    """Make the key of the forms in its pages, unless it is there."""
    ensure_secret(layout.secret(_FORM_KEY))


def issuer(layout: Layout, options: Options) -> str:
    """Return where people and clients reach the mesh, by which OAuth 2 names it.

    Raises:
        MeshError: --public-url is no such URL.
    """
    if options.public_url is None:
        return layout.public_url
    return checked(options.public_url, "public_url", public_url)


def app_part(layout: Layout, authority: Authority, options: Options) -> Part:
    """Describe the app."""
    tls = authority.files(GATEWAY)
    return Part(
        name=APP,
        address=layout.address(APP),
        command=python_module("gateway.app"),
        environment={
            "COMMERCE_LISTEN_ADDRESS": layout.address(APP),
            "COMMERCE_USER_ADDRESS": layout.address("user"),
            "COMMERCE_PRODUCT_ADDRESS": layout.address("product"),
            "COMMERCE_GRAPHQL_SCHEMA": "1" if options.graphql_schema else "0",
            "COMMERCE_GRAPHQL_QUERIES_FILE": str(options.graphql_queries or ""),
            "COMMERCE_RATE_LIMIT_SCALE": str(options.rate_limit_scale),
            "COMMERCE_PUBLIC_URL": issuer(layout, options),
            "COMMERCE_FORM_KEY_FILE": str(layout.secret(_FORM_KEY)),
            "COMMERCE_TLS_CERT_FILE": str(tls.cert),
            "COMMERCE_TLS_KEY_FILE": str(tls.key),
            "COMMERCE_TLS_CA_FILE": str(tls.ca),
        },
        uses=["user", "product"],
        shares_port=True,
    )
