/** `node:cluster` as its manual has it: PORT and how many workers. */
import cluster from "node:cluster";
import { createServer } from "node:http";
import process from "node:process";

const [port = "0", workers = "1"] = process.argv.slice(2);

if (cluster.isPrimary) {
  for (let count = 0; count < Number(workers); count++) cluster.fork();
  process.on("SIGTERM", () => {
    for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill("SIGKILL");
    process.exit(0);
  });
} else {
  createServer((_, response) => response.end("hello")).listen(Number(port), "127.0.0.1");
}
