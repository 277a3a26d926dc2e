// A worker on a stream, for many short jobs: deliveries come as soon as there is room, and one message settles several.
// Usage: worker.mts SUBSCRIPTION [JOBS]. TIDINGS_SUBSCRIBER is the address (http://127.0.0.1:3001). When its stream ends it opens another
// after a pause; what it had out may have gone to others by then. SIGTERM and SIGINT have it take nothing more, finish what runs, settle, and end.
import { setTimeout as sleep } from "node:timers/promises";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { type Message } from "./gen/tidings/v1/message_pb";
import {
  type ConsumeMessagesRequest, ConsumeMessagesRequestSchema, type ReceivedMessage, SettlementSchema, StartConsumingSchema, SubscriptionService,
} from "./gen/tidings/v1/subscription_service_pb";

const [name = "", jobs = "4"] = process.argv.slice(2);
const LEASE_S = 30;
// Without pings a dead connection, or a frozen server, is noticed when TCP gives up, minutes later.
const pings = { pingIntervalMs: 10_000, pingTimeoutMs: 3_000 };
const baseUrl = process.env.TIDINGS_SUBSCRIBER ?? "http://127.0.0.1:3001";
const service = createClient(SubscriptionService, createGrpcTransport({ baseUrl, ...pings }));

/** A message that no attempt will ever do. */
class Poison extends Error {}

/** The job. It may be done twice, after a crash for instance: message.messageId is the same then. */
async function work({ payload, sequence }: Message) {
  if (payload.case === "json" && !payload.value.startsWith("{")) throw new Poison("no object");
  console.log(`done #${sequence} ${payload.value}`);
}

/** Requests of a stream: what is pushed is sent in its order, until it is closed. */
class Requests {
  private waiting: ConsumeMessagesRequest[] = [];
  private wake = () => {};
  private closed = false;

  push(request: MessageInitShape<typeof ConsumeMessagesRequestSchema>["request"]) {
    this.waiting.push(create(ConsumeMessagesRequestSchema, { request }));
    this.wake();
  }

  close() {
    this.closed = true;
    this.wake();
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      yield* this.waiting.splice(0);
      if (this.waiting.length > 0) continue;
      if (this.closed) return;
      await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }
}

let stopping = false;
// All that outlives a stream: jobs that run, and what was decided and has no answer yet, which the next stream is told.
const running = new Set<string>();
const decided = new Map<string, MessageInitShape<typeof SettlementSchema>>();
let requests = new Requests();

function send(settlement: MessageInitShape<typeof SettlementSchema>) {
  requests.push({ case: "settlement", value: create(SettlementSchema, settlement) });
}

function settle(ackId: string, settlement: MessageInitShape<typeof SettlementSchema>) {
  decided.set(ackId, settlement);
  send(settlement);
}

async function handle({ ackId, message }: ReceivedMessage) {
  running.add(ackId);
  try {
    await work(message!);
    settle(ackId, { ackIds: [ackId] });
  } catch (error) {
    settle(ackId, { rejections: [{ ackIds: [ackId], deadLetter: error instanceof Poison, reason: String(error).slice(0, 200) }] });
  } finally {
    running.delete(ackId);
  }
}

/** Works on one stream until it ends. */
async function consume() {
  requests = new Requests();
  const silence = new AbortController();
  const listen = () => setTimeout(() => silence.abort(), 12_000);
  let timer = listen();
  let draining = false;

  const start = { maxOutstandingMessages: Number(jobs), ackDeadline: { seconds: BigInt(LEASE_S) }, heartbeatInterval: { seconds: 5n } };
  requests.push({ case: "start", value: create(StartConsumingSchema, { name, ...start }) });
  for (const settlement of decided.values()) send(settlement);
  // Leases of jobs that still run are extended, three times before they end.
  const renewal = setInterval(() => {
    if (running.size > 0) send({ extensions: [{ ackIds: [...running], ackDeadline: { seconds: BigInt(LEASE_S) } }] });
  }, (LEASE_S / 4) * 1000);
  try {
    for await (const { response } of service.consumeMessages(requests, { signal: silence.signal })) {
      clearTimeout(timer);
      timer = listen();
      switch (response.case) {
        case "received":
          for (const delivery of response.value.messages) {
            // A stream can't be told to bring nothing: what comes now is given back, and does not count.
            if (stopping) settle(delivery.ackId, { rejections: [{ ackIds: [delivery.ackId], uncounted: true }] });
            else void handle(delivery);
          }
          break;
        case "settled": {
          const { acknowledgedIds, rejectedIds, staleIds, unknownIds } = response.value;
          for (const id of [...acknowledgedIds, ...rejectedIds, ...staleIds]) decided.delete(id);
          // Final: the message is another's now.
          if (staleIds.length > 0) console.error(`too late for ${staleIds.length}: their leases were over`);
          // An unknown outcome is asked for again.
          for (const settlement of unknownIds.map((id) => decided.get(id))) if (settlement) setTimeout(() => send(settlement), 500);
          break;
        }
        case "lost": {
          const { firstSequence, lastSequence } = response.value;
          console.error(`lost from #${firstSequence} ${lastSequence > 0n ? `to #${lastSequence}` : "on"}`);
          break;
        }
        case "draining":
          draining = true;
      }
      if ((stopping || draining) && running.size === 0 && decided.size === 0) requests.close();
    }
  } finally {
    clearTimeout(timer);
    clearInterval(renewal);
    requests.close();
  }
}

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, () => {
    stopping = true;
    if (running.size === 0 && decided.size === 0) requests.close();
  });
}

const AGAIN = [Code.Unavailable, Code.Unknown, Code.Internal, Code.Aborted, Code.Canceled];
let pause = 100;
// While it stops, only for what is not settled yet.
while (!stopping || running.size > 0 || decided.size > 0) {
  const began = Date.now();
  try {
    await consume();
  } catch (reason) {
    const { code, message } = ConnectError.from(reason);
    if (!AGAIN.includes(code)) throw reason;
    console.error(`opening another stream: ${message}`);
  }
  // The pause grows while streams end soon, and is random, so that many workers do not come at once.
  pause = Date.now() - began > 10_000 ? 100 : Math.min(2 * pause, 5000);
  await sleep(pause * (0.5 + Math.random() / 2));
}
process.exit();
