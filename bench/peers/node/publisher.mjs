// Takes messages over HTTP and publishes them on a Redis channel: node publisher.mjs PORT REDIS-URL
import { randomUUID } from "node:crypto";
import express from "express";
import { createClient } from "redis";

const [port, url] = process.argv.slice(2);
const redis = createClient({ url });
await redis.connect();

const app = express();
app.use(express.json());
app.post("/messages", async (request, response) => {
  const { channel, message } = request.body;
  if (typeof message !== "string" || message === "") {
    response.status(400).json({ error: "the message is mandatory" });
    return;
  }
  const id = randomUUID();
  const date = new Date().toISOString();
  await redis.publish(channel, JSON.stringify({ id, message, date }));
  response.json({ id, date });
});
app.listen(Number(port), "127.0.0.1");
