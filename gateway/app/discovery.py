"""What clients learn about us by themselves (RFC 8414; OpenID Connect Discovery 1.0)."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.rpc.policy import contract_scopes

_OIDC_SCOPES = {"openid", "profile", "email"}


class Discovery:
    """The discovery documents, which say the same.

    Args:
        issuer: Where the mesh is reached.
    """

    def __init__(self, issuer: str) -> None:
        self._document = {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/oauth2/authorize",
            "token_endpoint": f"{issuer}/oauth2/token",
            "revocation_endpoint": f"{issuer}/oauth2/revoke",
            "introspection_endpoint": f"{issuer}/oauth2/introspect",
            "userinfo_endpoint": f"{issuer}/oauth2/userinfo",
            "jwks_uri": f"{issuer}/.well-known/jwks.json",
            "scopes_supported": sorted(_OIDC_SCOPES | contract_scopes()),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "revocation_endpoint_auth_methods_supported": [
                "client_secret_basic",
                "client_secret_post",
                "none",
            ],
            "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["EdDSA"],
            "claims_supported": [
                *("sub", "iss", "aud", "exp", "iat", "auth_time", "amr", "nonce"),
                *("email", "email_verified", "name"),
            ],
            "request_parameter_supported": False,
            "request_uri_parameter_supported": False,
        }

    async def document(self, _: Request) -> Response:
        """Return the document."""
        return JSONResponse(self._document, headers={"cache-control": "no-store"})
