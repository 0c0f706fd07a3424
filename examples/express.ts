/**
 * An Express app, or anything else that is a server of `node:http`: each worker attaches one to the pool's socket.
 *
 *     deno run -A mod.ts examples/express.ts -l 8080
 *     bun run mod.ts examples/express.ts -l 8080
 */
import { createServer } from "node:http";
import express from "express";
import type { Worker } from "../mod.ts";

const app = express();
app.get("/", (_request, response) => void response.send("Hello from Express\n"));

export default async function (worker: Worker): Promise<void> {
  await worker.attach(createServer(app));
}
