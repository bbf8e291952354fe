"""The broker over HTTP as an enclave, an owner and a relay see it."""

import asyncio
import json

import httpx
import pytest

from opaque_jobs.attestation.kbs import (
    ATTEST_PATH,
    AUTH_PATH,
    attest_body,
    auth_body,
    parse_attest_answer,
    parse_auth_answer,
    parse_reasons,
    resource_path,
)
from opaque_jobs.attestation.result import EarStatus, verify_result
from opaque_jobs.broker.app import MAX_BODY_BYTES, create_app
from opaque_jobs.client.broker import BrokerClient
from opaque_jobs.crypto.custody import open_release, release_info
from opaque_jobs.crypto.parquet import released_keys
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.domain.release import HoldScope
from opaque_jobs.errors import ConfigurationError, ConflictError, DeniedError, InvalidInputError, TrustError
from opaque_jobs.protocol.broker import STANDING_PATH
from tests.support.log_relay import carry
from tests.world import NOW, Enclave, World


class AppTransport(httpx.BaseTransport):
    """Carries the client's requests into an application in this process."""

    def __init__(self, app) -> None:
        self._inner = httpx.ASGITransport(app, raise_app_exceptions=False)

    def handle_request(self, request):
        async def exchange():
            inner = httpx.Request(request.method, request.url, headers=request.headers, content=request.read())
            answer = await self._inner.handle_async_request(inner)
            return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())

        return asyncio.run(exchange())


def get(broker, url: str, **headers: str) -> httpx.Response:
    with httpx.Client(transport=AppTransport(create_app(broker))) as client:
        return client.get(url, headers=headers)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def broker(world, tmp_path):
    return world.make_broker(world.hospital, tmp_path / "broker")


@pytest.fixture
def client(broker):
    with BrokerClient("http://127.0.0.1", transport=AppTransport(create_app(broker))) as client:
        yield client


def stock(world, client, organisation) -> None:
    roster = world.make_roster()
    client.deposit(
        key=organisation.broker.signing.public,
        deposit=world.deposit(organisation),
        manifest=world.manifest_envelope(organisation),
    )
    client.push(
        key=organisation.broker.signing.public,
        roster=roster.to_bytes(),
        acceptances=world.acceptances(roster),
        sharings=[world.sharing(organisation)],
    )


def make_enclave(world, **over) -> Enclave:
    spec = world.make_spec()
    return Enclave(world, spec, world.make_bundle(spec), **over)


def attest(client, enclave):
    hello = client.relay(method="POST", path=AUTH_PATH, cookie="", body=auth_body(TeeKind.SIMULATED))
    nonce = parse_auth_answer(hello.body)
    body = attest_body(enclave.request(nonce))
    answer = carry(enclave.world.log, client, method="POST", path=ATTEST_PATH, cookie=hello.cookie, body=body)
    return hello.cookie, nonce, answer


def fetch(client, world, cookie):
    path = resource_path(workspace_id="ws-1", dataset_id=world.hospital.dataset_id, version=1)
    return carry(world.log, client, method="GET", path=path, cookie=cookie, body="")


def test_enclave_gets_the_approved_columns_keys_and_nothing_more(world, client):
    stock(world, client, world.hospital)
    enclave = make_enclave(world)
    cookie, nonce, answer = attest(client, enclave)
    assert answer.status == 200, answer.body
    result = verify_result(parse_attest_answer(answer.body), world.hospital.broker.signing.public, now=NOW)
    assert (result.kind, result.status, result.nonce) == (TeeKind.SIMULATED, EarStatus.CONTRAINDICATED, nonce)

    sealed = fetch(client, world, cookie)
    assert sealed.status == 200, sealed.body
    info = release_info(
        workspace_id="ws-1",
        dataset_id=world.hospital.dataset_id,
        version=1,
        job_digest=enclave.spec.digest,
        run_id="run-1",
        organisation_id=world.hospital.id,
    )
    release = open_release(sealed.body.encode(), enclave.sealing, info)
    assert release.keys == released_keys(world.hospital.root, ["id", "value", "site"])
    assert release.salted.policy == world.hospital.policy()


def test_second_fetch_of_the_same_keys_is_refused(world, client):
    stock(world, client, world.hospital)
    cookie, _, _ = attest(client, make_enclave(world))
    assert fetch(client, world, cookie).status == 200
    again = fetch(client, world, cookie)
    assert (again.status, parse_reasons(again.body)) == (403, ("already-released",))


def test_keys_without_evidence_are_refused(world, client):
    stock(world, client, world.hospital)
    hello = client.relay(method="POST", path=AUTH_PATH, cookie="", body=auth_body(TeeKind.SIMULATED))
    for cookie in (hello.cookie, "", "guessed"):
        answer = fetch(client, world, cookie)
        assert (answer.status, parse_reasons(answer.body)) == (403, ("session-unknown-or-expired",))


def test_empty_broker_releases_nothing(world, client):
    _, _, answer = attest(client, make_enclave(world))
    assert answer.status == 403
    assert parse_reasons(answer.body) == ("dataset-unknown",)


def test_refusal_names_every_reason_and_no_data(world, client):
    stock(world, client, world.hospital)
    enclave = make_enclave(world)
    enclave.measurement = "sha256:" + "33" * 32
    _, _, answer = attest(client, enclave)
    document = json.loads(answer.body)
    assert set(document) == {"type", "title", "status", "reasons"}
    assert document["reasons"] == ["measurement-not-approved"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (AUTH_PATH, "{"),
        (AUTH_PATH, '{"version":"0.1.0","tee":"sgx2","extra-params":{}}'),
        (AUTH_PATH, '{"version":"9","tee":"simulated","extra-params":{}}'),
        (AUTH_PATH, '{"version":"0.1.0","tee":"tdx","tee":"simulated","extra-params":{}}'),
    ],
)
def test_malformed_request_is_a_problem_document(client, path, body):
    answer = client.relay(method="POST", path=path, cookie="", body=body)
    assert answer.status == 400
    assert "title" in json.loads(answer.body)


def test_malformed_attestation_spends_the_nonce(world, client):
    stock(world, client, world.hospital)
    hello = client.relay(method="POST", path=AUTH_PATH, cookie="", body=auth_body(TeeKind.SIMULATED))
    assert client.relay(method="POST", path=ATTEST_PATH, cookie=hello.cookie, body="{}").status == 400
    body = attest_body(make_enclave(world).request(parse_auth_answer(hello.body)))
    answer = client.relay(method="POST", path=ATTEST_PATH, cookie=hello.cookie, body=body)
    assert parse_reasons(answer.body) == ("session-unknown-or-expired",)


@pytest.mark.parametrize("path", MAX_BODY_BYTES)
def test_body_beyond_the_limit_of_its_route_is_refused(broker, path):
    titles = []
    for size in (MAX_BODY_BYTES[path], MAX_BODY_BYTES[path] + 1):
        with httpx.Client(transport=AppTransport(create_app(broker))) as client:
            answer = client.post(f"http://127.0.0.1{path}", content=b" " * size, headers={"content-type": "application/json"})
        assert answer.status_code in {400, 403}
        titles.append(answer.json()["title"])
    assert titles[0] != titles[1] == "the request is too long"


def test_every_route_that_takes_a_body_has_a_limit(broker):
    taking = {route.path for route in create_app(broker).routes if "POST" in getattr(route, "methods", ())}
    assert taking == set(MAX_BODY_BYTES)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/opaque/v1/deposits"),
        ("GET", "/opaque/v1/health"),
        ("DELETE", AUTH_PATH),
        ("GET", "/kbs/v0/resource/ws/../1"),
        ("GET", "/kbs/v0/resource/ws/ds/1?x=1"),
        ("POST", "//evil/kbs/v0/auth"),
    ],
)
def test_relay_carries_nothing_but_the_protocol(client, method, path):
    with pytest.raises(DeniedError):
        client.relay(method=method, path=path, cookie="", body="")


def test_relay_refuses_a_cookie_that_could_split_a_header(client):
    with pytest.raises(DeniedError):
        client.relay(method="POST", path=AUTH_PATH, cookie="a\r\nx: y", body="")


def test_unreachable_broker_is_status_zero_for_the_relay_and_an_error_for_people():
    with BrokerClient("http://127.0.0.1:9", timeout_s=1) as client:
        assert client.relay(method="POST", path=AUTH_PATH, cookie="", body="{}").status == 0
        with pytest.raises(ConfigurationError, match="cannot be reached"):
            client.health()


def test_foreign_host_header_is_refused(broker):
    assert get(broker, "http://evil.example/opaque/v1/health").status_code == 400


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a"])
@pytest.mark.parametrize(
    "path", [AUTH_PATH, ATTEST_PATH, "/opaque/v1/deposits", "/opaque/v1/statements", STANDING_PATH, "/opaque/v1/logs"]
)
def test_body_as_a_page_of_another_site_can_send_it_unasked_is_refused(broker, path, kind):
    headers = {} if kind is None else {"content-type": kind}
    with httpx.Client(transport=AppTransport(create_app(broker))) as client:
        answer = client.post(f"http://127.0.0.1{path}", content=auth_body(TeeKind.SIMULATED), headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (415, "application/problem+json")
    assert "application/json" in answer.json()["hint"]


def test_json_with_parameters_is_json(broker):
    with httpx.Client(transport=AppTransport(create_app(broker))) as client:
        headers = {"content-type": "Application/JSON; charset=utf-8"}
        assert client.post(f"http://127.0.0.1{AUTH_PATH}", content=auth_body(TeeKind.SIMULATED), headers=headers).is_success


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:8080", "http://localhost", "https://127.0.0.1", "https://evil.example", "null", ""]
)
@pytest.mark.parametrize("path", ["/", "/opaque/v1/health", "/kbs/v0/resource/ws-1/ds-org-hospital/1"])
def test_request_for_a_page_of_another_site_is_refused(broker, path, origin):
    answer = get(broker, f"http://127.0.0.1{path}", origin=origin)
    assert (answer.status_code, answer.json()["title"]) == (403, "a page of another site asks")


def test_json_for_a_page_of_another_site_is_refused(broker):
    headers = {"content-type": "application/json", "origin": "http://127.0.0.1:8080"}
    with httpx.Client(transport=AppTransport(create_app(broker))) as client:
        answer = client.post(f"http://127.0.0.1:8701{AUTH_PATH}", content=auth_body(TeeKind.SIMULATED), headers=headers)
    assert answer.status_code == 403


def test_the_brokers_own_page_may_ask(broker):
    assert get(broker, "http://127.0.0.1:8701/opaque/v1/health", origin="http://127.0.0.1:8701").status_code == 200


def test_health_and_pages_name_the_organisation_and_load_nothing(broker, client):
    assert client.health()["organisation_id"] == "org-hospital"
    page = get(broker, "http://127.0.0.1/").text
    assert "/kbs/v0/attest" in page
    assert "http" not in page.replace("HTTP", "")


def test_owner_errors_come_back_as_their_kind(world, client):
    deposit, manifest = world.deposit(world.hospital), world.manifest_envelope(world.hospital)
    with pytest.raises(TrustError):
        client.deposit(
            key=world.hospital.broker.signing.public,
            deposit=world.deposit(world.hospital, signer=world.carl.key),
            manifest=manifest,
        )
    with pytest.raises(InvalidInputError):
        client.deposit(key=world.hospital.broker.signing.public, deposit=b"nonsense", manifest=manifest)
    client.deposit(key=world.hospital.broker.signing.public, deposit=deposit, manifest=manifest)
    client.deposit(key=world.hospital.broker.signing.public, deposit=deposit, manifest=manifest)
    with pytest.raises(ConflictError):
        client.deposit(key=world.hospital.broker.signing.public, deposit=world.deposit(world.hospital), manifest=manifest)


def test_broker_says_which_holds_stand_and_signs_that(broker, world):
    key = world.hospital.broker.signing.public
    with BrokerClient("http://127.0.0.1", transport=AppTransport(create_app(broker))) as client:
        about = {"scope": HoldScope.JOB, "subject": "job-of-this-test"}
        assert client.standing(key=key, **about) == ()
        client.push(key=key, roster=None, holds=[world.hold(world.hospital, **about)])
        assert client.standing(key=key, **about) == (world.holds[-1].digest,)
        client.push(key=key, roster=None, holds=[world.hold(world.hospital, held=False, **about)])
        assert client.standing(key=key, **about) == ()
        with pytest.raises(TrustError, match="did not prove"):
            client.standing(key=world.laboratory.broker.signing.public, **about)
