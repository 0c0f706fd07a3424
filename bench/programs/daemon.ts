// deno-lint-ignore-file no-console
// Uses prefork in the fall-through form. By hand it is the manager, and is up where its workers' code would begin.
import { isWorker, Prefork } from "../../mod.ts";

const pool = new Prefork({ name: "daemon" });
if (isWorker()) await pool.start();
console.log("up");
