// deno-lint-ignore-file no-console
// Knows nothing of prefork; a small server that is up once it listens.
import { createServer } from "node:net";

createServer(() => {}).listen(0, "127.0.0.1", () => console.log("up"));
