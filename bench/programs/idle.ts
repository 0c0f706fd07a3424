// deno-lint-ignore-file no-console
// The bare runtime: all it does is wait.
setInterval(() => {}, 2 ** 30);
console.log("up");
