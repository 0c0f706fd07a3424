// deno-lint-ignore-file no-console
// A module that serves, and tells when it has a request.
export default {
  fetch(): Response {
    console.log(performance.timeOrigin + performance.now());
    return new Response("");
  },
};
