/**
 * A Hono app: it has `fetch`, so it is served as it is.
 *
 *     deno run -A mod.ts examples/hono.ts -l 8080
 *     bun run mod.ts examples/hono.ts -l 8080
 */
import { Hono } from "hono";

const app = new Hono();
app.get("/", (context) => context.text("Hello from Hono\n"));
app.get("/users/:name", (context) => context.json({ name: context.req.param("name") }));

export default app;
