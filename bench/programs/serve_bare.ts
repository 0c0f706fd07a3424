/** The runtime's own server, by itself: PORT, and whether others listen there too. */
import process from "node:process";

declare const Bun: { serve(options: object): unknown };

const [port = "0", shared] = process.argv.slice(2);
const options = { hostname: "127.0.0.1", port: Number(port), reusePort: shared === "shared" };
const hello = () => new Response("hello");

if ("Deno" in globalThis) Deno.serve({ ...options, onListen() {} }, hello);
else Bun.serve({ ...options, development: false, fetch: hello });
