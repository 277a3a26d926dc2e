// A plain Redis subscriber: prints the three keys that it reads of each message. Usage: node subscribe.mjs URL
import { createClient } from "redis";

const client = await createClient({ url: process.argv[2] }).connect();
await client.subscribe("channel1", (text) => {
  const { id, message, date } = JSON.parse(text);
  console.log(JSON.stringify({ id, message, date }));
});
console.log("subscribed");
