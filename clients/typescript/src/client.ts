// Publishes, lists, streams and resumes with a generated Connect-ES client and its default limits.
// Usage: node client.js grpc|grpc-web|connect|connect-json|connect-http1 PUBLISHER SUBSCRIBER. An address with https:// is spoken
// to with TLS: TIDINGS_CA names a file with the authorities that its certificate is checked against, TIDINGS_CERT and TIDINGS_KEY a
// client certificate and its key (all PEM). Prints `ok: NAME` or `FAILED: NAME: WHY` for each check.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRegistry } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { BadRequestSchema, ErrorInfoSchema, file_google_rpc_error_details } from "./gen/google/rpc/error_details_pb.js";
import { type Message } from "./gen/tidings/v1/message_pb.js";
import { PublisherService } from "./gen/tidings/v1/publisher_service_pb.js";
import { Order, SubscriberService } from "./gen/tidings/v1/subscriber_service_pb.js";

const [protocol, publisherAddress, subscriberAddress] = process.argv.slice(2);
const file = (variable: string) => (process.env[variable] ? readFileSync(process.env[variable]) : undefined);
const nodeOptions = { ca: file("TIDINGS_CA"), cert: file("TIDINGS_CERT"), key: file("TIDINGS_KEY") };
// Browsers speak gRPC-Web over HTTP/1.1 where there is no TLS, and over HTTP/2 where there is.
const transport = (address: string) => {
  const isTls = address.startsWith("https://");
  const baseUrl = isTls ? address : `http://${address}`;
  if (protocol === "grpc") return createGrpcTransport({ baseUrl, nodeOptions });
  if (protocol.startsWith("connect")) {
    const httpVersion = protocol === "connect-http1" ? "1.1" : "2";
    const useBinaryFormat = protocol !== "connect-json";
    // In JSON the details of a failed publish of a stream are read by their type.
    const jsonOptions = { registry: createRegistry(file_google_rpc_error_details) };
    return createConnectTransport({ baseUrl, httpVersion, useBinaryFormat, jsonOptions, nodeOptions });
  }
  return isTls
    ? createGrpcWebTransport({ baseUrl, httpVersion: "2", nodeOptions })
    : createGrpcWebTransport({ baseUrl, httpVersion: "1.1" });
};
const publisher = createClient(PublisherService, transport(publisherAddress));
const subscriber = createClient(SubscriberService, transport(subscriberAddress));

// Numbers beyond a double, an order of keys and white space that a parser would not keep.
const exactJson = '{"z": 9007199254740993,  "price": 1.10, "a": [1e400, "\\u00e9"]}';
const fresh = () => `typescript.${randomUUID()}`;
const text = (value: string) => ({ case: "text" as const, value });
const options = { timeoutMs: 20_000 };

async function everyPayloadArrivesAsItWasSent() {
  const channel = fresh();
  const bytes = Uint8Array.from({ length: 256 }, (_, n) => n);
  const receipts = [
    await publisher.publish({ channel, payload: text("naïve ☃"), attributes: { source: "typescript" } }, options),
    await publisher.publish({ channel, payload: { case: "json", value: exactJson } }, options),
    await publisher.publish({ channel, payload: { case: "data", value: bytes } }, options),
  ];
  assert.deepEqual(receipts.map((r) => r.sequence), [1n, 2n, 3n]);
  const { messages } = await subscriber.listMessages({ channel }, options);
  assert.deepEqual(messages.map((m) => m.payload.case), ["text", "json", "data"]);
  assert.equal(messages[0].payload.value, "naïve ☃");
  // Where callers sign in, `tidings-subject` says as well who published it.
  const own = Object.entries(messages[0].attributes).filter(([key]) => !key.startsWith("tidings-"));
  assert.deepEqual(own, [["source", "typescript"]]);
  assert.equal(messages[1].payload.value, exactJson);
  assert.deepEqual(Uint8Array.from(messages[2].payload.value as Uint8Array), bytes);
  // Their texts differ: a message's cursor knows more of where it lies than a receipt's.
  const position = (one: { epoch: string; sequence: bigint }) => `${one.epoch}:${one.sequence}`;
  assert.deepEqual(messages.map(position), receipts.map(position));
  assert.ok([...messages, ...receipts].every((one) => one.cursor !== ""));
}

async function aBatchLandsTogetherAndIsListedInPages() {
  const channel = fresh();
  const requests = Array.from({ length: 250 }, (_, n) => ({ payload: text(`${n + 1}`) }));
  const { responses } = await publisher.publishBatch({ channel, requests }, options);
  assert.deepEqual(responses.map((r) => Number(r.sequence)), requests.map((_, n) => n + 1));
  const sequences: number[] = [];
  let pageToken = "";
  do {
    const page = await subscriber.listMessages(
      { channel, pageSize: 60, pageToken, order: Order.NEWEST_FIRST }, options);
    sequences.push(...page.messages.map((m) => Number(m.sequence)));
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  assert.deepEqual(sequences, requests.map((_, n) => 250 - n));
}

async function aStreamOfPublishesSurvivesABadOne() {
  const channel = fresh();
  async function* requests() {
    for (let n = 0; n < 300; n++) yield { request: n === 100 ? { channel } : { channel, payload: text(`${n}`) } };
  }
  const codes: number[] = [];
  const sequences: number[] = [];
  for await (const { result } of publisher.publishStream(requests(), options)) {
    if (result.case === "error") codes.push(result.value.code);
    if (result.case === "response") sequences.push(Number(result.value.sequence));
  }
  assert.deepEqual(codes, [Code.InvalidArgument]);
  assert.deepEqual(sequences, Array.from({ length: 299 }, (_, n) => n + 1));
}

/** Reads messages of a channel until there are `count`, then leaves the stream. */
async function read(
  request: { channel: string; earliest?: boolean; after?: string[] }, count: number, caughtUp?: () => Promise<unknown>,
) {
  const found: Message[] = [];
  const cases: (string | undefined)[] = [];
  const leave = new AbortController();
  try {
    for await (const { event } of subscriber.streamMessages(request, { ...options, signal: leave.signal })) {
      cases.push(event.case);
      if (event.case === "caughtUp") await caughtUp?.();
      if (event.case === "message") found.push(event.value);
      if (found.length >= count) break;
    }
  } finally {
    leave.abort();
  }
  return { found, cases };
}

async function aStreamReplaysFollowsAndResumes() {
  const channel = fresh();
  for (const word of ["one", "two"]) await publisher.publish({ channel, payload: text(word) }, options);
  const live = () => publisher.publish({ channel, payload: text("three") }, options);
  const { found, cases } = await read({ channel, earliest: true }, 3, live);
  assert.deepEqual(cases, ["started", "message", "message", "caughtUp", "message"]);
  assert.deepEqual(found.map((m) => m.payload.value), ["one", "two", "three"]);
  await publisher.publish({ channel, payload: text("four") }, options);
  const resumed = await read({ channel, after: [found[1].cursor] }, 2);
  assert.deepEqual(resumed.found.map((m) => m.payload.value), ["three", "four"]);
}

async function bigMessagesFitTheDefaultLimits() {
  const channel = fresh();
  const value = "x".repeat(900_000);
  for (let n = 0; n < 5; n++) await publisher.publish({ channel, payload: text(value) }, options);
  const { found } = await read({ channel, earliest: true }, 5);
  assert.ok(found.every((m) => m.payload.value === value));
}

async function errorsSayWhichFieldAndWhy() {
  const error = ConnectError.from(await publisher.publish({ channel: fresh() }, options).then(
    () => assert.fail("it was accepted"), (reason: unknown) => reason));
  assert.equal(error.code, Code.InvalidArgument);
  assert.match(error.rawMessage, /the message is mandatory/);
  assert.equal(error.findDetails(ErrorInfoSchema)[0].domain, "tidings");
  assert.ok(error.findDetails(BadRequestSchema)[0].fieldViolations[0].field);
}

const checks = [
  everyPayloadArrivesAsItWasSent, aBatchLandsTogetherAndIsListedInPages, aStreamReplaysFollowsAndResumes,
  bigMessagesFitTheDefaultLimits, errorsSayWhichFieldAndWhy,
  // gRPC-Web has no streams towards the server, and HTTP/1.1 none in both directions at once.
  ...(["grpc", "connect", "connect-json"].includes(protocol) ? [aStreamOfPublishesSurvivesABadOne] : []),
];
for (const check of checks) {
  const name = `${check.name.replace(/[A-Z]/g, (c) => ` ${c.toLowerCase()}`)} (${protocol})`;
  try {
    await check();
    console.log(`ok: ${name}`);
  } catch (reason) {
    process.exitCode = 1;
    console.log(`FAILED: ${name}: ${JSON.stringify(reason instanceof Error ? reason.stack : String(reason))}`);
  }
}
// Connections that are kept open for reuse would keep the process alive.
process.exit();
