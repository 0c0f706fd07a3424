/** The units of the examples, as systemd itself reads them. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { parse } from "../src/cli/parse.ts";
import { tempDir } from "./support/run.ts";

const options = { skip: process.platform !== "linux", timeout: 180_000 };
const unit = (name: string): string => fileURLToPath(new URL(`../examples/systemd/${name}`, import.meta.url));

function verify(...files: readonly string[]): string {
  const { status, stderr, error } = spawnSync("systemd-analyze", ["verify", "--man=no", ...files], {
    encoding: "utf8",
  });
  assert.equal(error, undefined);
  const own = stderr.split("\n").filter((line) => !/^\/(usr\/)?(lib|etc)\/systemd\//.test(line)); // others are read, too
  return `${status} ${own.join("\n")}`;
}

test("the units of the examples are right", options, async () => {
  assert.equal(verify(unit("web.service"), unit("web.socket")), "0 ");
  await using dir = await tempDir();
  copyFileSync(unit("web.socket"), dir.file("web.socket"));
  writeFileSync(
    dir.file("web.service"),
    readFileSync(unit("web.service"), "utf8").replace("WatchdogSec", "WatchdogSek"),
  );
  assert.match(verify(dir.file("web.service")), /WatchdogSek/, "and would not be if they were not");
});

test("what they run is understood", () => {
  const lines = readFileSync(unit("web.service"), "utf8").matchAll(/^Exec\w+=\/usr\/bin\/env deno run -A \S+ (.*)$/gm);
  const kinds = [...lines].map(([, line = ""]) => parse(line.split(" ")).kind);
  assert.deepEqual(kinds, ["run", "order"]);
});
