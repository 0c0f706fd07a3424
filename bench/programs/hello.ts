// deno-lint-ignore-file no-console
// Knows nothing of prefork, and does nothing: any cost of the library shows most here.
console.log("up");
