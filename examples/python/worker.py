"""A worker by calls, for jobs that take seconds or minutes: it pulls, works, and settles.

Usage: worker.py SUBSCRIPTION [JOBS]. TIDINGS_SUBSCRIBER is the address (127.0.0.1:3001). A lease of a call belongs to no connection:
where one is lost, or a replica is restarted, the jobs that run go on, and are settled at any other replica. SIGTERM and SIGINT have it
take nothing more, finish what runs, and end.
"""

import os
import random
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf.duration_pb2 import Duration
from tidings.v1 import subscription_service_pb2 as pb
from tidings.v1.subscription_service_pb2_grpc import SubscriptionServiceStub

NAME, JOBS = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 4
LEASE_S = 30
# Three tries to extend a lease before it ends.
RENEW_S = LEASE_S / 4
# The same call may be made again after these: it was not carried out, or can be carried out twice.
AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DEADLINE_EXCEEDED)
# Without pings a dead connection, or a frozen server, is noticed when TCP gives up, minutes later.
PINGS = [("grpc.keepalive_time_ms", 10_000), ("grpc.http2.ping_timeout_ms", 3_000), ("grpc.http2.max_pings_without_data", 0)]

service = SubscriptionServiceStub(grpc.insecure_channel(os.environ.get("TIDINGS_SUBSCRIBER", "127.0.0.1:3001"), PINGS))
stopping, wake = threading.Event(), threading.Event()
free = threading.Semaphore(JOBS)


def say(text, to=sys.stdout):
    """Prints a line in one write: jobs that end together would print into each other's lines."""
    to.write(f"{text}\n")
    to.flush()


class Poison(Exception):
    """A message that no attempt will ever do."""


def work(message):
    """The job. It may be done twice, after a crash for instance: message.message_id is the same then."""
    if message.WhichOneof("payload") == "json" and not message.json.startswith("{"):
        raise Poison("no object")
    say(f"done #{message.sequence} {getattr(message, message.WhichOneof('payload'))}")


def again(call, until=float("inf")):
    """Makes a call until it is answered. The pause between grows, and is random, so that many workers do not come at once."""
    pause = 0.1
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            if error.code() not in AGAIN or time.monotonic() + pause > until:
                raise
            say(f"trying again: {error.details()}", sys.stderr)
        time.sleep(pause * random.uniform(0.5, 1))
        pause = min(2 * pause, 5)


def settle(ack_id, call):
    """Settles a delivery. An unknown outcome is asked for again; a stale one is final: the message is another's now, or was done."""
    until = time.monotonic() + 60
    while True:
        settled = again(call, until).settled
        if settled.stale_ids:
            say(f"too late for {ack_id}: its lease was over", sys.stderr)
        if not settled.unknown_ids or time.monotonic() > until:
            return
        time.sleep(0.5)


def reject(ack_id, **how):
    request = pb.RejectMessagesRequest(name=NAME, rejections=[pb.Rejection(ack_ids=[ack_id], **how)])
    settle(ack_id, lambda: service.RejectMessages(request, timeout=5))


def renew(ack_id, done):
    """Extends a lease until its job is done, or the lease is lost."""
    extension = pb.Extension(ack_ids=[ack_id], ack_deadline=Duration(seconds=LEASE_S))
    request = pb.ExtendAckDeadlinesRequest(name=NAME, extensions=[extension])
    while not done.wait(RENEW_S):
        try:
            if service.ExtendAckDeadlines(request, timeout=5).settled.stale_ids:
                return
        except grpc.RpcError as error:
            say(f"a lease was not extended: {error.details()}", sys.stderr)


def handle(delivery):
    done = threading.Event()
    threading.Thread(target=renew, args=(delivery.ack_id, done), daemon=True).start()
    try:
        try:
            work(delivery.message)
        except Poison as error:
            reject(delivery.ack_id, dead_letter=True, reason=str(error)[:200])
        except Exception as error:
            reject(delivery.ack_id, reason=repr(error)[:200])
        else:
            request = pb.AcknowledgeMessagesRequest(name=NAME, ack_ids=[delivery.ack_id])
            settle(delivery.ack_id, lambda: service.AcknowledgeMessages(request, timeout=5))
    except grpc.RpcError as error:
        # The message comes again when its lease ends.
        say(f"could not be settled: {error.details()}", sys.stderr)
    finally:
        done.set()
        free.release()


def pull(room):
    """Waits for messages, and is given up when the worker stops: what it would have brought goes to others."""
    request = pb.PullMessagesRequest(name=NAME, max_messages=room, max_wait=Duration(seconds=20), ack_deadline=Duration(seconds=LEASE_S))
    call = service.PullMessages.future(request, timeout=30)
    call.add_done_callback(lambda _: wake.set())
    while not call.done() and not stopping.is_set():
        wake.wait()
        wake.clear()
    if not call.done():
        call.cancel()
    return None if call.cancelled() else call.result()


def stop(*_):
    stopping.set()
    wake.set()


def main():
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with ThreadPoolExecutor(JOBS) as pool:
        while not stopping.is_set():
            if not free.acquire(timeout=0.2):
                continue
            room = 1
            while free.acquire(blocking=False):
                room += 1
            pulled = again(lambda: None if stopping.is_set() else pull(room))
            for lost in pulled.lost if pulled else []:
                say(f"lost from #{lost.first_sequence} {f'to #{lost.last_sequence}' if lost.last_sequence else 'on'}", sys.stderr)
            messages = pulled.messages if pulled else []
            for delivery in messages:
                pool.submit(handle, delivery)
            for _ in range(room - len(messages)):
                free.release()
    # The pool has waited for what ran.


if __name__ == "__main__":
    main()
