"""grpcurl by reflection alone: no proto file, no generated code. Also what only a process can show: health checks,
restarts, a clean stop."""

import base64
import json
import subprocess
import uuid

from lab.report import expect
from lab.tools import BINARIES

PUBLISHER, SUBSCRIBER = "tidings.v1.PublisherService", "tidings.v1.SubscriberService"


class Grpcurl:
    """Calls one stack's services and reads the answers as JSON."""

    def __init__(self, tools, stack):
        self.tools, self.stack = tools, stack

    def raw(self, *arguments, seconds=20, text=""):
        """The finished process; `text` is what `-d @` reads."""
        return subprocess.run(
            [self.tools.bin / "grpcurl", "-plaintext", "-max-time", str(seconds), *arguments],
            env=self.tools.env, input=text, capture_output=True, text=True, timeout=seconds + 10)

    def call(self, method, request=None, seconds=20):
        """The answers of a call that must succeed, or that the deadline ends where it is an endless stream."""
        address = self.stack.publisher if method.startswith(PUBLISHER) else self.stack.subscriber
        done = self.raw("-d", json.dumps(request or {}), address, method, seconds=seconds)
        ended = done.returncode == 0 or (method.endswith("StreamMessages") and "DeadlineExceeded" in done.stderr)
        expect(ended, done.stderr)
        return read_objects(done.stdout)

    def publish(self, request):
        return self.call(f"{PUBLISHER}/Publish", request)[0]


def read_objects(text):
    """JSON objects, one after the other."""
    decoder, found, text, at = json.JSONDecoder(), [], text.strip(), 0
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        found.append(value)
        while text[at:at + 1].isspace():
            at += 1
    return found


def run(report, tools, stack):
    grpcurl = Grpcurl(tools, stack)
    reflection(report, grpcurl)
    payloads(report, grpcurl)
    small_messages(report, grpcurl)
    errors(report, grpcurl)
    processes(report, tools, stack, grpcurl)


def reflection(report, grpcurl):
    for address, service in ((grpcurl.stack.publisher, PUBLISHER), (grpcurl.stack.subscriber, SUBSCRIBER)):
        with report.check(f"reflection lists {service} and its neighbours"):
            listed = grpcurl.raw(address, "list").stdout.split()
            for name in (service, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
                         "grpc.reflection.v1alpha.ServerReflection"):
                expect(name in listed, listed)
        with report.check(f"reflection describes every method and message of {service}"):
            described = grpcurl.raw(address, "describe", service).stdout
            method = "PublishStream" if service == PUBLISHER else "StreamMessages"
            expect(f"rpc {method} (" in described, described)
            message = grpcurl.raw(address, "describe", f"tidings.v1.{method}Request").stdout
            expect(f"message {method}Request" in message, message)
        with report.check(f"health is reported overall and for {service}"):
            for name in ("", service):
                answer = grpcurl.raw("-d", json.dumps({"service": name}), address, "grpc.health.v1.Health/Check")
                expect('"SERVING"' in answer.stdout, answer.stderr)
    with report.check("a call for the other service says where it is"):
        answer = grpcurl.raw("-d", "{}", "-format-error", grpcurl.stack.publisher, f"{SUBSCRIBER}/ListMessages").stderr
        # Separate processes know each other's default port only.
        where = "3001" if grpcurl.stack.redis_url else grpcurl.stack.subscriber
        expect('"code": 12' in answer and where in answer, answer)


def payloads(report, grpcurl):
    channel = f"grpcurl.{uuid.uuid4().hex}"
    exact = '{"z": 9007199254740993,  "price": 1.10}'
    sent = [{"text": "hello \u2603"}, {"json": exact}, {"data": base64.b64encode(bytes(range(256))).decode()}]
    with report.check("text, JSON and bytes are published and numbered"):
        receipts = [grpcurl.publish({"channel": channel, **payload}) for payload in sent]
        expect([r["sequence"] for r in receipts] == ["1", "2", "3"], receipts)
        expect(all(r["messageId"] and r["publishTime"] and r["epoch"] and r["cursor"] for r in receipts), receipts)
    with report.check("a batch and a stream of publishes are numbered after them"):
        batch = grpcurl.call(f"{PUBLISHER}/PublishBatch", {"channel": channel, "requests": [{"text": "4"}, {"text": "5"}]})
        expect([r["sequence"] for r in batch[0]["responses"]] == ["4", "5"], batch)
        streamed = grpcurl.call(f"{PUBLISHER}/PublishStream", {"request": {"channel": channel, "text": "6"}})
        expect(streamed[0]["response"]["sequence"] == "6", streamed)
    with report.check("they are listed, oldest and newest first"):
        messages = grpcurl.call(f"{SUBSCRIBER}/ListMessages", {"channel": channel, "pageSize": 3})[0]["messages"]
        for payload, message in zip(sent, messages, strict=True):
            expect(payload.items() <= message.items(), message)
        newest = grpcurl.call(f"{SUBSCRIBER}/ListMessages", {"channel": channel, "order": "ORDER_NEWEST_FIRST"})
        expect([m["sequence"] for m in newest[0]["messages"]] == list("654321"), newest)
    with report.check("they are streamed from the earliest, and from a cursor on"):
        events = grpcurl.call(f"{SUBSCRIBER}/StreamMessages", {"channel": channel, "earliest": True}, seconds=2)
        expect([next(iter(e)) for e in events] == ["started"] + ["message"] * 6 + ["caughtUp"], events)
        resumed = grpcurl.call(
            f"{SUBSCRIBER}/StreamMessages", {"channel": channel, "after": [events[4]["message"]["cursor"]]}, seconds=2)
        expect([e["message"]["sequence"] for e in resumed if "message" in e] == ["5", "6"], resumed)
    with report.check("the channel is listed"):
        listed = grpcurl.call(f"{SUBSCRIBER}/ListChannels", {"pattern": channel})
        expect(listed[0]["channels"][0]["lastSequence"] == "6", listed)


def small_messages(report, grpcurl):
    count, channel = 20_000, f"grpcurl.{uuid.uuid4().hex}"
    requests = "\n".join(json.dumps({"request": {"channel": channel, "text": str(i)}}) for i in range(count))
    with report.check(f"{count} small messages as fast as they can be sent on one stream are all answered"):
        done = grpcurl.raw("-d", "@", grpcurl.stack.publisher, f"{PUBLISHER}/PublishStream", seconds=60, text=requests)
        expect(done.returncode == 0, done.stderr)
        sequences = [int(answer["response"]["sequence"]) for answer in read_objects(done.stdout)]
        expect(sequences == list(range(1, count + 1)), f"{len(sequences)} answers")


def errors(report, grpcurl):
    cases = {
        "no payload": ({}, "the message is mandatory", "InvalidArgument"),
        "a bad channel": ({"channel": "a b", "text": "x"}, "channel", "InvalidArgument"),
        "malformed JSON": ({"json": "{"}, "json", "InvalidArgument"),
        "a message over 1 MiB": ({"text": "x" * (1 << 20)}, "at most 1048576", "ResourceExhausted"),
    }
    for name, (request, words, code) in cases.items():
        with report.check(f"{name} is refused in words, with details that can be read"):
            answer = subprocess.run(
                [grpcurl.tools.bin / "grpcurl", "-plaintext", "-max-time", "20", "-d", "@", grpcurl.stack.publisher,
                 f"{PUBLISHER}/Publish"],
                env=grpcurl.tools.env, input=json.dumps(request), capture_output=True, text=True).stderr
            expect(f"Code: {code}" in answer and words in answer, answer)
            expect("google.rpc.ErrorInfo" in answer and '"domain": "tidings"' in answer, answer)
            expect("@value" not in answer and "@error" not in answer, answer)


def processes(report, tools, stack, grpcurl):
    channel = f"grpcurl.{uuid.uuid4().hex}"
    if stack.redis_url:
        for binary, address in (("tidings-publisher", stack.publisher), ("tidings-subscriber", stack.subscriber)):
            with report.check(f"{binary} healthcheck distinguishes a server that serves from one that does not"):
                def healthcheck(listen):
                    return subprocess.run([BINARIES / binary, "healthcheck", "--listen", listen], env=tools.env,
                                          capture_output=True, text=True, timeout=20)
                expect(healthcheck(address).returncode == 0, healthcheck(address).stderr)
                expect(healthcheck("127.0.0.1:1").returncode == 1, healthcheck("127.0.0.1:1").stderr)
        with report.check("everything published is there after Redis and both services were restarted"):
            before = grpcurl.publish({"channel": channel, "text": "kept"})
            codes = stack.restart()
            expect(codes == [0, 0, 0], f"exit codes {codes}")
            after = grpcurl.publish({"channel": channel, "text": "next"})
            expect((before["sequence"], after["sequence"]) == ("1", "2"), (before, after))
            request = {"channel": channel, "after": [before["cursor"]]}
            events = grpcurl.call(f"{SUBSCRIBER}/StreamMessages", request, seconds=2)
            expect([next(iter(e)) for e in events] == ["started", "message", "caughtUp"], events)
            listed = grpcurl.call(f"{SUBSCRIBER}/ListMessages", {"channel": channel})[0]["messages"]
            expect([m["text"] for m in listed] == ["kept", "next"], listed)
    with report.check("SIGTERM ends the services with code 0 while a stream is open"):
        stream = subprocess.Popen(
            [tools.bin / "grpcurl", "-plaintext", "-d", json.dumps({"channel": channel}), stack.subscriber,
             f"{SUBSCRIBER}/StreamMessages"], env=tools.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.PIPE)
        try:
            expect("{" in stream.stdout.readline(), "the stream did not start")
            codes = stack.stop()
            expect(set(codes) == {0}, f"exit codes {codes}")
            ended = stream.communicate(timeout=20)[1]
            expect("Unavailable" in ended, ended)
        finally:
            stream.kill()
            stream.communicate()
