"""The agent's end of the channel, against a host that is a socket in this process."""

import socket
import threading

import pytest

from opaque_jobs.enclave.agent.wire import Wire
from opaque_jobs.errors import InvalidInputError, SandboxError
from opaque_jobs.protocol.enclave import (
    BrokerRequest,
    BrokerResponse,
    Channel,
    EvidenceResponse,
    FailureWord,
    Finished,
    Heartbeat,
    Start,
    Status,
    StatusWord,
)

START = Start(
    mode="test", run_id="r", job_spec="", bundle="", manifests={}, inputs={}, heap_bytes=1, cores=1, sent_at="now", tee=""
)


class Host:
    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.channel = Channel(ours)
        self.wire_began = False
        self.ended = threading.Event()
        self.codes = []
        self.wire = Wire(self.theirs, end=self.end)

    def end(self, code: int):
        self.codes.append(code)
        self.ended.set()
        if threading.current_thread() is not threading.main_thread():
            threading.Event().wait()  # as after the end of a process, nothing goes on
        raise SystemExit

    def begin(self) -> None:
        self.wire_began = True
        self.channel.send(START)
        assert self.wire.begin() == START


@pytest.fixture
def host():
    host = Host()
    yield host
    host.channel.close()
    assert host.ended.wait(5) or not host.wire_began
    host.theirs.close()


def test_wire_another_first_message_is_refused(host):
    host.channel.send(Heartbeat())

    with pytest.raises(InvalidInputError):
        host.wire.begin()


def test_wire_status_and_last_word_reach_the_host(host):
    host.begin()
    host.wire.status(StatusWord.COMPUTING)
    with pytest.raises(SystemExit):
        host.wire.finish(FailureWord.AUTHOR_ERROR)

    assert host.channel.receive() == Status(word="computing")
    assert host.channel.receive() == Finished(failure="author-error", reasons=[])
    assert host.codes == [0]


def test_wire_evidence_is_what_the_host_answers(host):
    host.begin()
    host.channel.send(EvidenceResponse(evidence="aGk="))

    assert host.wire.evidence(report_data=b"a", init_data=b"b") == b"hi"


def test_wire_answer_to_another_request_is_refused(host):
    host.begin()
    host.channel.send(BrokerResponse(request_id=9, status=200, cookie="", body=""))

    with pytest.raises(SandboxError):
        host.wire.broker(org_id="o", method="GET", path="/", cookie="", body="")


def test_wire_broker_requests_are_numbered(host):
    host.begin()
    for number in (1, 2):
        host.channel.send(BrokerResponse(request_id=number, status=200, cookie="", body=""))
        host.wire.broker(org_id="o", method="GET", path="/", cookie="", body="")

    seen = [host.channel.receive(), host.channel.receive()]
    assert [each.request_id for each in seen if isinstance(each, BrokerRequest)] == [1, 2]


def test_wire_end_of_the_channel_ends_the_agent(host):
    host.begin()

    host.channel.close()

    assert host.ended.wait(5)


def test_wire_a_second_start_ends_the_agent(host):
    host.begin()

    host.channel.send(START)

    assert host.ended.wait(5)
