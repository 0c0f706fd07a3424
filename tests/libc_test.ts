/** How the C library is found. */
import assert from "node:assert/strict";
import process from "node:process";
import { describe, it } from "node:test";
import { currentLibc } from "../runtimes/current_libc.ts";
import { openFirst } from "../src/libc.ts";

const options = { skip: process.platform !== "linux" };

describe("the C library", () => {
  it("is found as glibc's, as musl's of each machine, and as plain libc.so", options, () => {
    const libc = currentLibc();
    const cases: readonly (readonly [string, string])[] = [
      ["x64", "libc.so.6"],
      ["x86_64", "libc.musl-x86_64.so.1"],
      ["x64", "libc.musl-x86_64.so.1"],
      ["aarch64", "libc.musl-aarch64.so.1"],
      ["arm64", "libc.musl-aarch64.so.1"],
      ["arm64", "libc.so"],
    ];
    for (const [arch, present] of cases) {
      const found = openFirst("linux", arch, (name) => name === present ? libc : assert.fail(`no ${name}`));
      assert.equal(found, libc, `${present} on ${arch}`);
    }
  });

  it("is said to be missing with all its names, and the failure of the one that is there", () => {
    const missing = (name: string) => `${name}: No such file or directory`;
    const cases = [[missing, missing("libc.so.6")], [
      (name: string) => name.includes("musl") ? "statx: symbol not found" : missing(name),
      "statx: symbol not found",
    ]] as const;
    for (const [failure, expected] of cases) {
      assert.throws(() => openFirst("linux", "x64", (name) => assert.fail(failure(name))), {
        name: "NoLibcError",
        message: `no C library could be used as libc.so.6, libc.musl-x86_64.so.1, libc.so (${expected})`,
      });
    }
  });

  it("is not looked for but on Linux", () => {
    assert.throws(() => openFirst("darwin", "arm64", () => assert.fail("it was opened")), {
      name: "NoLibcError",
      message: /^this is darwin, and prefork shares listening sockets on Linux only$/,
    });
  });
});
