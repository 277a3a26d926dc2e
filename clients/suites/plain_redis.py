"""Redis programs that know nothing of Tidings, in each direction: Node.js with its `redis` package, on `channel1`."""

import datetime
import json
import subprocess
import threading
import uuid

from lab.report import expect
from suites.grpcurl import PUBLISHER, SUBSCRIBER, Grpcurl


def run(report, tools, stack):
    folder = tools.npm("redis")
    grpcurl = Grpcurl(tools, stack)
    with report.check("what a plain program publishes reaches a stream"):
        inbound(tools, stack, folder)
    with report.check("a plain subscriber reads what Publish sent: id, message, date"):
        outbound(tools, stack, folder, grpcurl)


def inbound(tools, stack, folder):
    stream = subprocess.Popen(
        [tools.bin / "grpcurl", "-plaintext", "-max-time", "20", "-d", "{}", stack.subscriber,
         f"{SUBSCRIBER}/StreamMessages"],
        env=tools.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        # The first event comes when the subscription is confirmed.
        expect("started" in read_event(stream), "no started event")
        ident = str(uuid.uuid4())
        tools.run("node", "publish.mjs", stack.redis_url, ident, cwd=folder, timeout_s=30)
        event = {}
        while "message" not in event:
            event = read_event(stream)
        message = event["message"]
        expect(message["messageId"] == ident and message["channel"] == "channel1", message)
        expect(message["text"] == "hello from node" and int(message["sequence"]) > 0, message)
        expect(message["attributes"] == {"tidings-original-date": "10/11/2023"}, message)
    finally:
        stream.kill()
        stream.wait()


def read_event(stream):
    """The next JSON object that grpcurl prints; it ends at a brace in the first column."""
    lines = []
    for line in stream.stdout:
        lines.append(line)
        if line.startswith("}"):
            return json.loads("".join(lines))
    expect(False, "the stream ended: " + "".join(lines))


def outbound(tools, stack, folder, grpcurl):
    subscriber = subprocess.Popen(
        ["node", "subscribe.mjs", stack.redis_url], cwd=folder, env=tools.env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    # A subscriber that receives nothing is not waited for without end.
    alarm = threading.Timer(30, subscriber.kill)
    alarm.start()
    try:
        ready = subscriber.stdout.readline()
        expect(ready.strip() == "subscribed", ready)
        receipt = grpcurl.call(f"{PUBLISHER}/Publish", {"text": "hello from tidings"})[0]
        line = subscriber.stdout.readline()
        expect(line.startswith("{"), line + subscriber.stdout.read())
        received = json.loads(line)
        expect(received["id"] == receipt["messageId"] and received["message"] == "hello from tidings", received)
        date = datetime.datetime.fromisoformat(received["date"].replace("Z", "+00:00"))
        expect(date == datetime.datetime.fromisoformat(receipt["publishTime"].replace("Z", "+00:00")), (received, receipt))
    finally:
        alarm.cancel()
        subscriber.kill()
        subscriber.communicate()
