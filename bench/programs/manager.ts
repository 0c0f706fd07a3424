// deno-lint-ignore-file no-console
// A manager of WORKERS commands, up once all of them are.
import { Prefork } from "../../mod.ts";
import { currentHost } from "../../runtimes/current.ts";

const maxWorkers = Number(currentHost.getEnv("WORKERS"));
const pool = new Prefork({
  maxWorkers,
  afterFork: ({ numWorkers }) => void (numWorkers + 1 === maxWorkers && console.log("up")),
});
await pool.startCommand({ command: "sleep", args: ["1000"] });
await pool.waitAllChildren();
