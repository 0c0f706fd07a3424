/** Which responses Deno has sent as soon as it has them: found out by what it keeps of them, which may change. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isWhole } from "../runtimes/deno_responses.ts";
import { runtime } from "./support/run.ts";

const headers = { "content-type": "text/plain" };
const stream = (): ReadableStream => new ReadableStream();

function touched(response: Response): Response {
  response.headers.set("x-more", "more");
  return response;
}

describe(`a response on ${runtime}`, () => {
  const WHOLE: readonly [string, () => Response][] = [
    ["text", () => new Response("text")],
    ["text with headers", () => new Response("text", { headers })],
    ["nothing but a text that is empty", () => new Response("")],
    ["bytes", () => new Response(new Uint8Array(3))],
    ["JSON", () => Response.json({ a: 1 }, { status: 201 })],
  ];
  for (const [what, make] of WHOLE) {
    it(`is known to be whole: ${what}`, { skip: runtime !== "deno" }, () => assert.equal(isWhole(make()), true));
  }

  const OTHERS: readonly [string, () => Response][] = [
    ["a stream", () => new Response(stream())],
    ["a stream with headers", () => touched(new Response(stream(), { headers }))],
    ["a stream that was cloned", () => new Response(stream()).clone()],
    ["no body", () => new Response(null, { status: 204 })],
    ["a file", () => new Response(new Blob(["text"]))],
    ["a redirection", () => Response.redirect("http://127.0.0.1/")],
  ];
  for (const [what, make] of OTHERS) {
    it(`is not known to be whole: ${what}`, () => assert.equal(isWhole(make()), false));
  }

  it("is over by the time that Deno has it, if it is known to be whole", { skip: runtime !== "deno" }, async () => {
    const early: string[] = [];
    const handler = (request: Request, info: Deno.ServeHandlerInfo): Response => {
      const { pathname } = new URL(request.url);
      const [, make] = WHOLE[Number(pathname.slice(1))] ?? assert.fail(pathname);
      let isOver = false;
      void info.completed.then(() => isOver = true);
      setTimeout(() => isOver || early.push(pathname), 0);
      return make();
    };
    const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, handler);
    for (const index of WHOLE.keys()) await (await fetch(`http://127.0.0.1:${server.addr.port}/${index}`)).text();
    await server.shutdown();
    assert.deepEqual(early, []);
  });
});
