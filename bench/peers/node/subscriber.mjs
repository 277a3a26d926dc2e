// Listens to a Redis channel and serves its messages as server-sent events: node subscriber.mjs PORT REDIS-URL
import express from "express";
import { createClient } from "redis";

const [port, url] = process.argv.slice(2);
const redis = createClient({ url });
await redis.connect();

const app = express();
app.get("/messages/:channel", async (request, response) => {
  const { channel } = request.params;
  const listener = (text) => {
    const { id, message, date } = JSON.parse(text);
    response.write(`data: ${JSON.stringify({ id, message, date })}\n\n`);
  };
  await redis.subscribe(channel, listener);
  response.on("close", () => redis.unsubscribe(channel, listener));
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  response.write(": connected\n\n");
});
app.listen(Number(port), "127.0.0.1");
