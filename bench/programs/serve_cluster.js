/** `node:cluster` as its manual has it, on Node.js, Deno and Bun: PORT and how many workers. Who dies is replaced. */
import cluster from "node:cluster";
import { createServer } from "node:http";
import process from "node:process";

const [port = "0", workers = "1"] = process.argv.slice(2);

if (cluster.isPrimary) {
  for (let count = 0; count < Number(workers); count++) cluster.fork();
  cluster.on("exit", () => cluster.fork());
  process.on("SIGTERM", () => {
    for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill("SIGKILL");
    process.exit(0);
  });
} else {
  const { answer } = await import("./answer.js");
  createServer(answer).listen(Number(port), "127.0.0.1");
}
