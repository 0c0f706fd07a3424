/** What every server of the suite answers, whatever it is: the same in each language (see `peers/`). */
import { existsSync, readFileSync } from "node:fs";
import process from "node:process";

if (existsSync(process.env["BENCH_BROKEN"] ?? "")) throw new Error("this build is broken");

/** Ten kilobytes of JSON, ready to be sent: what is measured is the server, not the library that writes it. */
const json = readFileSync(process.env["BENCH_JSON"] ?? "/dev/null", "utf8");

/** Uses a processor for a millisecond. */
function spin() {
  for (const end = performance.now() + 1; performance.now() < end;);
}

/**
 * For servers that call a function with a request.
 *
 * @param {Request} request
 */
export function fetch(request) {
  const { method, url } = request;
  if (method === "POST") return request.text().then((body) => new Response(String(body.length)));
  if (url.endsWith("/json")) return new Response(json, { headers: { "content-type": "application/json" } });
  if (url.endsWith("/cpu")) spin();
  if (url.endsWith("/pid")) return new Response(String(process.pid));
  return new Response("hello");
}

/**
 * For servers of `node:http`.
 *
 * @param {import("node:http").IncomingMessage} request
 * @param {import("node:http").ServerResponse} response
 */
export function answer(request, response) {
  if (request.method === "POST") {
    let length = 0;
    request.on("data", (chunk) => length += chunk.length).on("end", () => response.end(String(length)));
  } else if (request.url === "/json") response.setHeader("content-type", "application/json").end(json);
  else {
    if (request.url === "/cpu") spin();
    response.end(request.url === "/pid" ? String(process.pid) : "hello");
  }
}
