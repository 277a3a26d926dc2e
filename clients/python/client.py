"""Publishes, lists, streams and resumes with a generated client and the library's default limits.

Usage: client.py PUBLISHER SUBSCRIBER. An address with https:// is spoken to with TLS: TIDINGS_CA names a file with the authorities
that its certificate is checked against, TIDINGS_CERT and TIDINGS_KEY a client certificate and its key (all PEM). Prints `ok: NAME` or `FAILED: NAME: WHY` for each check.
"""

import os
import sys
import threading
import time
import traceback
import uuid

import grpc
from google.rpc import error_details_pb2 as details
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from tidings.v1 import publisher_service_pb2 as pub
from tidings.v1 import publisher_service_pb2_grpc as pub_grpc
from tidings.v1 import subscriber_service_pb2 as sub
from tidings.v1 import subscriber_service_pb2_grpc as sub_grpc

# Numbers beyond a double, an order of keys and white space that a parser would not keep.
EXACT_JSON = '{"z": 9007199254740993,  "price": 1.10, "a": [1e400, "\\u00e9"]}'
DEADLINE_S = 20



def connect(address):
    if not address.startswith("https://"):
        return grpc.insecure_channel(address)

    def read(variable):
        return open(os.environ[variable], "rb").read() if variable in os.environ else None

    credentials = grpc.ssl_channel_credentials(read("TIDINGS_CA"), read("TIDINGS_KEY"), read("TIDINGS_CERT"))
    return grpc.secure_channel(address.removeprefix("https://"), credentials)


publisher_channel, subscriber_channel = connect(sys.argv[1]), connect(sys.argv[2])
publisher = pub_grpc.PublisherServiceStub(publisher_channel)
subscriber = sub_grpc.SubscriberServiceStub(subscriber_channel)


def fresh():
    """A channel that no other test has used."""
    return f"python.{uuid.uuid4().hex}"


def publish(channel, **fields):
    return publisher.Publish(pub.PublishRequest(channel=channel, **fields), timeout=DEADLINE_S)


def stream(**fields):
    return subscriber.StreamMessages(sub.StreamMessagesRequest(**fields), timeout=DEADLINE_S)


def every_payload_arrives_as_it_was_sent():
    channel = fresh()
    receipts = [
        publish(channel, text="naïve \u2603", attributes={"source": "python"}, ordering_key="k"),
        publish(channel, json=EXACT_JSON),
        publish(channel, data=bytes(range(256))),
    ]
    assert [r.sequence for r in receipts] == [1, 2, 3], receipts
    assert len({r.epoch for r in receipts}) == 1 and receipts[0].epoch, receipts
    messages = subscriber.ListMessages(sub.ListMessagesRequest(channel=channel), timeout=DEADLINE_S).messages
    assert [m.WhichOneof("payload") for m in messages] == ["text", "json", "data"], messages
    # Where callers sign in, `tidings-subject` says as well who published it.
    own = {key: value for key, value in messages[0].attributes.items() if not key.startswith("tidings-")}
    assert messages[0].text == "naïve \u2603" and own == {"source": "python"}, messages[0]
    assert messages[0].ordering_key == "k", messages[0]
    assert messages[1].json == EXACT_JSON, messages[1]
    assert messages[2].data == bytes(range(256)), messages[2]
    assert [m.message_id for m in messages] == [r.message_id for r in receipts]
    # Their texts differ: a message's cursor knows more of where it lies than a receipt's.
    assert [(m.epoch, m.sequence) for m in messages] == [(r.epoch, r.sequence) for r in receipts]
    assert all(one.cursor for one in [*messages, *receipts])


def a_batch_lands_together():
    channel = fresh()
    requests = [pub.PublishRequest(text=f"line {n}") for n in range(1000)]
    receipts = publisher.PublishBatch(
        pub.PublishBatchRequest(channel=channel, requests=requests), timeout=DEADLINE_S).responses
    assert [r.sequence for r in receipts] == list(range(1, 1001)), receipts[:3]


def a_stream_of_publishes_survives_a_bad_one():
    channel = fresh()

    def requests():
        for n in range(500):
            request = pub.PublishRequest(channel=channel, text=f"{n}") if n != 250 else pub.PublishRequest(channel=channel)
            yield pub.PublishStreamRequest(request=request)

    answers = list(publisher.PublishStream(requests(), timeout=DEADLINE_S))
    assert len(answers) == 500, len(answers)
    assert answers[250].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0], answers[250]
    assert answers[250].error.details[0].type_url.startswith("type.googleapis.com/google.rpc."), answers[250]
    sequences = [a.response.sequence for a in answers if a.WhichOneof("result") == "response"]
    assert sequences == list(range(1, 500)), sequences[:5]


def every_page_can_be_had():
    channel = fresh()
    publisher.PublishBatch(pub.PublishBatchRequest(
        channel=channel, requests=[pub.PublishRequest(text=str(n)) for n in range(1, 251)]), timeout=DEADLINE_S)

    def listed(order):
        token, pages = "", []
        while True:
            page = subscriber.ListMessages(sub.ListMessagesRequest(
                channel=channel, page_size=60, page_token=token, order=order), timeout=DEADLINE_S)
            pages.append([m.sequence for m in page.messages])
            token = page.next_page_token
            if not token:
                return pages

    pages = listed(sub.ORDER_OLDEST_FIRST)
    assert sum(pages, []) == list(range(1, 251)) and [len(p) for p in pages[:4]] == [60] * 4, pages
    assert sum(listed(sub.ORDER_NEWEST_FIRST), []) == list(range(250, 0, -1))


def big_messages_fit_the_default_limits():
    channel, text = fresh(), "x" * 900_000
    for _ in range(6):
        publish(channel, text=text)
    token, seen, pages = "", 0, 0
    while True:
        page = subscriber.ListMessages(
            sub.ListMessagesRequest(channel=channel, page_token=token), timeout=DEADLINE_S)
        seen, pages, token = seen + len(page.messages), pages + 1, page.next_page_token
        if not token:
            break
    assert seen == 6 and pages > 1, (seen, pages)
    found, _ = messages_until(stream(channel=channel, earliest=True), 6)
    assert all(m.text == text for m in found), [len(m.text) for m in found]


def messages_until(events, count):
    """The next `count` messages, and the kinds of all events up to there."""
    found, kinds = [], []
    for event in events:
        kind = event.WhichOneof("event")
        kinds.append(kind)
        if kind == "message":
            found.append(event.message)
            if len(found) == count:
                break
    return found, kinds


def a_stream_replays_then_follows():
    channel = fresh()
    for n in range(3):
        publish(channel, text=f"kept {n}")
    events = stream(channel=channel, earliest=True)
    replayed, kinds = messages_until(events, 3)
    assert kinds[0] == "started" and [m.sequence for m in replayed] == [1, 2, 3], kinds
    assert next(events).WhichOneof("event") == "caught_up"
    receipt = publish(channel, text="live")
    live, _ = messages_until(events, 1)
    assert live[0].message_id == receipt.message_id and live[0].sequence == 4, live
    events.cancel()


def a_cut_stream_resumes_by_cursor_while_others_publish():
    channel, stop, published = fresh(), threading.Event(), []

    def publish_on():
        while not stop.is_set():
            published.append(publish(channel, text=str(len(published) + 1)).sequence)

    thread = threading.Thread(target=publish_on)
    thread.start()
    seen, cursor = [], ""
    try:
        for _ in range(5):
            events = stream(channel=channel, after=[cursor] if cursor else [], earliest=not cursor)
            found, _ = messages_until(events, 40)
            events.cancel()
            seen += [m.sequence for m in found]
            cursor = found[-1].cursor
    finally:
        stop.set()
        thread.join()
    assert seen == list(range(1, 201)), seen


def a_pattern_stream_resumes_by_its_cursor():
    base = fresh()
    events = stream(pattern=f"{base}.*", heartbeat_interval={"nanos": 200_000_000})
    assert next(events).WhichOneof("event") == "started"
    publish(f"{base}.a", text="1")
    publish(f"{base}.b", text="1")
    found, _ = messages_until(events, 2)
    assert {m.channel for m in found} == {f"{base}.a", f"{base}.b"}, found
    cursor = next(e.heartbeat.cursor for e in events if e.WhichOneof("event") == "heartbeat")
    events.cancel()
    publish(f"{base}.b", text="2")
    resumed, _ = messages_until(stream(pattern=f"{base}.*", after=[cursor]), 1)
    assert (resumed[0].channel, resumed[0].text) == (f"{base}.b", "2"), resumed


def a_repeat_is_answered_with_the_first_receipt():
    channel, ident = fresh(), str(uuid.uuid4())
    first, second = publish(channel, text="once", message_id=ident), publish(channel, text="again", message_id=ident)
    assert not first.duplicate and second.duplicate, (first, second)
    assert (first.sequence, first.cursor, ident) == (second.sequence, second.cursor, second.message_id)


def errors_say_which_field_and_why():
    try:
        publish(fresh())
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        assert "the message is mandatory" in error.details(), error
        found = {}
        for packed in rpc_status.from_call(error).details:
            for kind in (details.BadRequest, details.ErrorInfo):
                if packed.Is(kind.DESCRIPTOR):
                    found[kind] = kind()
                    packed.Unpack(found[kind])
        assert found[details.BadRequest].field_violations[0].field, found
        assert found[details.ErrorInfo].domain == "tidings", found
        return
    raise AssertionError("it was accepted")


def two_starts_are_refused():
    try:
        next(stream(channel=fresh(), earliest=True, last=3))
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        return
    raise AssertionError("it was accepted")


def the_older_reflection_api_answers_too():
    for channel, service in ((publisher_channel, "PublisherService"), (subscriber_channel, "SubscriberService")):
        names = list(ProtoReflectionDescriptorDatabase(channel).get_services())
        assert f"tidings.v1.{service}" in names and "grpc.health.v1.Health" in names, names


def main():
    failed = False
    for check in [
        every_payload_arrives_as_it_was_sent, a_batch_lands_together, a_stream_of_publishes_survives_a_bad_one,
        every_page_can_be_had, big_messages_fit_the_default_limits, a_stream_replays_then_follows,
        a_cut_stream_resumes_by_cursor_while_others_publish, a_pattern_stream_resumes_by_its_cursor,
        a_repeat_is_answered_with_the_first_receipt, errors_say_which_field_and_why, two_starts_are_refused,
        the_older_reflection_api_answers_too,
    ]:
        name = check.__name__.replace("_", " ")
        began = time.monotonic()
        try:
            check()
            print(f"ok: {name} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception:
            failed = True
            print(f"FAILED: {name}: {traceback.format_exc()!r}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
