// deno-lint-ignore-file no-console
/**
 * All checks, then all tests on both runtimes, several files at once, as `npm test` runs them: one closing line per runtime. Runs on
 * Node, which npm needs anyway; the runtimes under test are the ones npm installed.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { env, inTurn, root, runFile, RUNTIMES } from "./support/runtimes.mjs";

/** How many files run at a time: they wait more than they compute. */
const JOBS = Math.max(1, Number(process.env.PREFORK_TEST_JOBS) || 4);

/** These take longest, and come first, so that none of them is waited for alone. */
const LONGEST = ["chatter", "loss", "ready_when", "upgrade", "chaos", "serve", "attach"]
  .map((name) => `tests/${name}_test.ts`);

/** What those files printed that failed: told last, since a log may be cut, and is read from its end. */
const complaints = [];

const reports = mkdtempSync(join(tmpdir(), "prefork-reports-"));

function run(command, args) {
  console.log(`\n$ ${command} ${args.join(" ")}`);
  const { status, signal } = spawnSync(command, args, { cwd: root, env, stdio: ["ignore", "inherit", "inherit"] });
  if (status !== 0) console.log(`${command} ended with ${signal ?? `status ${status}`}`);
  return status === 0;
}

/** Checks that say nothing of what runs; each one that fails is a failed run. */
const CHECKS = [
  ["deno", "fmt", "--check"],
  ["deno", "lint"],
  ["deno", "check", "mod.ts", "runtimes/", "src/", "tests/", "examples/", "bench/"],
  ["tsc", "-p", "tsconfig.json"],
  ["deno", "doc", "--lint", "mod.ts", "src/define_config.ts", "src/jobs/mod.ts", "runtimes/deno.ts", "runtimes/bun.ts"],
  [
    "deno",
    "test",
    "--doc",
    "-A",
    "mod.ts",
    "src/define_config.ts",
    "src/events.ts",
    "src/policy.ts",
    "src/prefork.ts",
    "src/ready_when.ts",
    "src/worker.ts",
  ],
  ["deno", "publish", "--dry-run", "--allow-dirty"],
];

/** Leaves only: a group is a case of its own in Deno's report. */
function count(report) {
  const cases = [...report.matchAll(/<testcase name="([^"]*)"[^>]*?(?:\/>|>([\s\S]*?)<\/testcase>)/g)]
    .map(([, name = "", body = ""]) => ({ name, failed: /<(failure|error)\b/.test(body) }));
  const isGroup = ({ name }) => cases.some((other) => other.name.startsWith(`${name} &gt; `));
  const leaves = cases.filter((one) => !isGroup(one));
  const failed = leaves.filter((leaf) => leaf.failed).length;
  return { passed: leaves.length - failed, failed };
}

/** What a file's cases came to. One that does not load, or leaks after its last test, fails without a failed test. */
async function test({ runtime, file }) {
  const report = join(reports, `${runtime}-${file.replaceAll("/", "-")}.xml`);
  const { status, output } = await runFile(runtime, file, report);
  const ending = typeof status === "string" ? status : `status ${status}`;
  const text = `\n$ ${runtime} ${RUNTIMES[runtime](file).join(" ")}\n${output}`;
  const { passed, failed } = read(report);
  if (status === 0 && failed === 0) console.log(text);
  else complaints.push(`${text}\n${runtime} ended with ${ending}`);
  return { passed, failed: status === 0 ? failed : Math.max(failed, 1) };
}

function read(report) {
  try {
    return count(readFileSync(report, "utf8"));
  } catch {
    console.log(`${report} was not written`);
    return { passed: 0, failed: 0 };
  }
}

function testFiles() {
  const all = readdirSync(join(root, "tests")).filter((name) => name.endsWith("_test.ts")).map((name) =>
    `tests/${name}`
  );
  return [...LONGEST, ...all.filter((file) => !LONGEST.includes(file))];
}

const named = process.argv.slice(2);
const failedChecks = (named.length > 0 ? [] : CHECKS).filter(([command, ...args]) => !run(command, args));
const files = named.length > 0 ? named : testFiles();
const totals = new Map(Object.keys(RUNTIMES).map((runtime) => [runtime, { passed: 0, failed: 0, failing: [] }]));
const queue = files.flatMap((file) => Object.keys(RUNTIMES).map((runtime) => ({ runtime, file })));
await inTurn(queue, JOBS, async (one) => {
  const { passed, failed } = await test(one);
  const total = totals.get(one.runtime);
  totals.set(one.runtime, {
    passed: total.passed + passed,
    failed: total.failed + failed,
    failing: failed > 0 ? [...total.failing, one.file] : total.failing,
  });
});
rmSync(reports, { recursive: true, force: true });

for (const complaint of complaints) console.log(complaint);
if (failedChecks.length > 0) console.log("\nfailed checks, see above:");
for (const words of failedChecks) console.log(`  ${words.join(" ")}`);
for (const [runtime, { failing }] of totals) for (const file of failing) console.log(`failed on ${runtime}: ${file}`);
console.log();
for (const [runtime, { passed, failed }] of totals) console.log(`${runtime}: ${passed} passed, ${failed} failed`);
process.exitCode = failedChecks.length === 0 && [...totals.values()].every(({ failed }) => failed === 0) ? 0 : 1;
