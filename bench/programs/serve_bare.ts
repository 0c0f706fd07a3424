/** The runtime's own server, by itself: PORT, and whether others listen there too. */
import process from "node:process";
import { fetch } from "./answer.js";

declare const Bun: { serve(options: object): unknown };

const [port = "0", shared] = process.argv.slice(2);
const options = { hostname: "127.0.0.1", port: Number(port), reusePort: shared === "shared" };

if ("Deno" in globalThis) Deno.serve({ ...options, onListen() {} }, fetch);
else Bun.serve({ ...options, development: false, fetch });
