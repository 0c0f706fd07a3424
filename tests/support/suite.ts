/**
 * What one process of the test runner starts and writes, and a janitor that ends and removes it should that process be
 * killed before its tests have cleaned up.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { chmodSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

/** The programs and the temporary directories of one process of the test runner. */
export interface TestSuite {
  /** Marks, in its environment, each process of the suite; the janitor ends those that have it. */
  readonly env: Readonly<Record<"TEST_SUITE", string>>;
  /** Holds every temporary directory; its path is short, as those of sockets must be. */
  readonly directory: string;
}

// The end of its input is the end of the test process, however that ended. What is killed may have started others
// meanwhile, hence the loop.
const JANITOR = `
trap "" HUP INT TERM
read -r never
while files=$(grep -lzsxF "TEST_SUITE=$1" /proc/[0-9]*/environ); [ -n "$files" ]; do
  for file in $files; do pid=\${file#/proc/}; kill -9 "\${pid%/environ}"; done
  sleep 0.05
done
rm -rf "$2"
`;

let started: { readonly suite: TestSuite; readonly janitor: unknown } | undefined;

/** The suite of this process; begins it at the first call. */
export function testSuite(): TestSuite {
  // The janitor is kept in reach, since its input would be closed with what is collected as garbage.
  started ??= start();
  return started.suite;
}

function start(): { readonly suite: TestSuite; readonly janitor: unknown } {
  const id = randomUUID();
  const directory = mkdtempSync(join(tmpdir(), "pt-"));
  // Workers of another user pass through it.
  chmodSync(directory, 0o711);
  const janitor = spawn("/bin/sh", ["-c", JANITOR, "janitor", id, directory], {
    // Without the marks of the suite and of the run that it may itself be part of: nobody is to end it.
    env: { PATH: process.env.PATH },
    cwd: "/",
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  janitor.unref();
  if (janitor.stdin !== null && "unref" in janitor.stdin && typeof janitor.stdin.unref === "function") {
    janitor.stdin.unref();
  }
  return { suite: { env: { TEST_SUITE: id }, directory }, janitor };
}
