/** The same server in workers that share one socket: PORT, how many, and whether they relay. */
import process from "node:process";
import { Prefork } from "../../mod.ts";
import { fetch } from "./answer.js";

const [port = "0", workers = "1", way] = process.argv.slice(2);

await using pool = new Prefork({
  maxWorkers: Number(workers),
  listen: `127.0.0.1:${port}`,
  adoption: way !== "relay",
});
await pool.start((worker) => worker.serve(fetch, { development: false }));
await pool.waitAllChildren();
