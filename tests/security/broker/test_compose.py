"""`docker-compose.yaml`: no service shares a broker's user, volume or passphrase."""

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

COMPOSE = Path(__file__).parents[3] / "docker-compose.yaml"
SHARED = {"socket"}
"""The database's: brokers believe nothing in it."""


def services() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(COMPOSE.read_text())["services"]


def brokers() -> dict[str, dict[str, Any]]:
    return {name: each for name, each in services().items() if each.get("command", [])[:2] == ["broker", "serve"]}


def test_each_organisations_broker_is_a_service_of_its_own():
    named = [each["command"][each["command"].index("--org") + 1] for each in brokers().values()]
    assert len(named) == len(set(named)) == 2


def test_broker_shares_user_volume_and_passphrase_with_nobody():
    users = Counter(each.get("user", "0:0") for each in services().values())
    volumes = Counter(volume.split(":")[0] for each in services().values() for volume in each["volumes"])
    secrets = Counter(name for each in services().values() for name in each.get("secrets", []))
    for each in brokers().values():
        assert users[each["user"]] == 1
        assert not each["user"].startswith(("0", "root"))
        own = {volume.split(":")[0]: volume.split(":")[1] for volume in each["volumes"] if volume.split(":")[0] not in SHARED}
        assert [volumes[name] for name in own] == [1]
        assert list(own.values()) == [each["environment"]["OPAQUE_JOBS_HOME"]]
        assert [secrets[name] for name in each["secrets"]] == [1]


def test_what_services_name_is_declared():
    document = yaml.safe_load(COMPOSE.read_text())
    for each in document["services"].values():
        assert {volume.split(":")[0] for volume in each["volumes"]} <= set(document["volumes"])
        assert set(each.get("secrets", [])) <= set(document["secrets"])
        assert "build" in each or each["image"] in {"postgres:17", "opaque-jobs"}
