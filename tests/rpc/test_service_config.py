"""What `make generate` compiles for clients, and what a channel says where it is missing."""

import json
from pathlib import Path

import pytest

from deploy.local.parts.certificates import Authority
from services.rpc import channel as channels
from services.rpc.channel import ServiceConfigMissing, open_channel
from services.rpc.policy import policies


def test_compiled_clients_repeat_what_the_contract_lets_them_and_nothing_else() -> None:
    repeated = {}
    for path in sorted(channels._SERVICE_CONFIGS.glob("*.json")):
        for config in json.loads(path.read_text())["methodConfig"]:
            for name in config["name"]:
                attempts = config.get("retryPolicy", {}).get("maxAttempts", 1)
                repeated[f"/{name['service']}/{name['method']}"] = attempts
    allowed = {each.method: each.max_attempts for each in policies().values() if each.max_attempts > 1}
    assert repeated == allowed


def test_missing_service_config_says_what_to_do(
    certificates: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(channels, "_SERVICE_CONFIGS", tmp_path)
    with pytest.raises(ServiceConfigMissing, match="make generate"):
        open_channel("product", "127.0.0.1:1", certificates.files("order"))
