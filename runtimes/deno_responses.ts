/**
 * Which responses Deno sends by one call, without a stream. Part of `deno_serving.ts`.
 *
 * @module
 */

/**
 * The properties in which Deno keeps what it sends of such a response. They have no public name: they are those that are
 * set where the body is text, and not where it is a stream. None is found in a Deno that keeps it otherwise; then no
 * response is known to be such.
 */
const KEPT_IN: readonly symbol[] = findKept();

/**
 * Whether a response is over as soon as Deno has it, all of its body being there: what is left is to be sent to the client,
 * for which the server waits as it closes. A response of which that is not known may be one, too.
 *
 * Nothing public tells: `body` makes a stream of what is none, and `info.completed` costs 0.35 µs for each request, which
 * was 2 to 4 % of a small one (`bench/adoption.ts`).
 */
export function isWhole(response: object): boolean {
  for (const key of KEPT_IN) {
    const kept: unknown = Reflect.get(response, key);
    if (kept !== null && kept !== undefined) return true;
  }
  return false;
}

function findKept(): readonly symbol[] {
  const headers = { "content-type": "text/plain", "x-probe": "probe" };
  const texts = [new Response("probe"), new Response("probe", { headers })];
  const streams = [new ReadableStream(), new ReadableStream()].map((body, index) =>
    new Response(body, index === 0 ? {} : { headers })
  );
  const others = [...streams, new Response(null), new Response(null, { headers })];
  for (const response of others) void response.headers; // which sets what is nothing of the body
  const isSet = (response: object, key: symbol): boolean => (Reflect.get(response, key) ?? null) !== null;
  const keys = new Set(texts.flatMap((response) => Object.getOwnPropertySymbols(response)));
  return [...keys].filter((key) =>
    texts.some((text) => isSet(text, key)) && !others.some((other) => isSet(other, key))
  );
}
