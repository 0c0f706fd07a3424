/**
 * The smallest server: any module that exports an object with `fetch`.
 *
 *     deno run -A mod.ts examples/hello.ts -l 8080 -w 4
 *     bun run mod.ts examples/hello.ts -l 8080 -w 4
 */
export default {
  fetch(request: Request): Response {
    return new Response(`Hello from ${new URL(request.url).pathname}\n`);
  },
};
