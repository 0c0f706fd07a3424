/** A server of `node:http` in workers that share one socket: PORT and how many. */
import { createServer } from "node:http";
import process from "node:process";
import { Prefork } from "../../mod.ts";
import { answer } from "./answer.js";

const [port = "0", workers = "1"] = process.argv.slice(2);

await using pool = new Prefork({ maxWorkers: Number(workers), listen: `127.0.0.1:${port}` });
await pool.start((worker) => worker.attach(createServer(answer)));
await pool.waitAllChildren();
