// A plain Redis publisher: publishes the JSON object that such programs always have. Usage: node publish.mjs URL ID
import { createClient } from "redis";

const [url, id] = process.argv.slice(2);
const client = await createClient({ url }).connect();
await client.publish("channel1", JSON.stringify({ id, message: "hello from node", date: "10/11/2023" }));
await client.close();
