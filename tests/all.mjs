// deno-lint-ignore-file no-console
/**
 * All tests on both runtimes, then all checks, several at once, as `npm test` runs them: one closing line per runtime. Runs on
 * Node, which npm needs anyway; the runtimes under test are the ones npm installed.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { inTurn, root, runCommand, runFile, RUNTIMES } from "./support/runtimes.mjs";

/** How many files run at a time: they wait more than they compute. */
const AT_ONCE = Math.max(1, Number(process.env.PREFORK_TEST_AT_ONCE) || 6);

/** These take longest, and come first, so that none of them is waited for alone. */
const LONGEST = [
  ...[
    "chatter",
    "machines_jobs",
    "loss",
    "endurance",
    "attach",
    "upgrade",
    "ready_when",
    "pool_exhaustive",
    "serve",
    "cli",
    "status_page",
    "machines_servers",
  ],
  ...["standby", "chaos", "upgrade_cli", "serve_drain", "orphans", "job_pool"],
].map((name) => `tests/${name}_test.ts`);

/** Of how many files it is told how long they took. */
const LONGEST_TOLD = Math.max(1, Number(process.env.PREFORK_TEST_LONGEST) || 20);

/** What those files printed that failed: told last, since a log may be cut, and is read from its end. */
const complaints = [];

/** How long each file took. */
const took = [];

const reports = mkdtempSync(join(tmpdir(), "prefork-reports-"));

async function check([command, ...args]) {
  const { status, output } = await runCommand(command, args);
  const text = `\n$ ${command} ${args.join(" ")}\n${output}`;
  if (status === 0) return console.log(text);
  complaints.push(`${text}\n${command} ended with ${typeof status === "string" ? status : `status ${status}`}`);
  failedChecks.push([command, ...args]);
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
  const begun = performance.now();
  const { status, output } = await runFile(runtime, file, report);
  took.push({ runtime, file, seconds: Math.round((performance.now() - begun) / 1000) });
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
const failedChecks = [];
const files = named.length > 0 ? named : testFiles();
const totals = new Map(Object.keys(RUNTIMES).map((runtime) => [runtime, { passed: 0, failed: 0, failing: [] }]));
const queue = [
  ...files.flatMap((file) => Object.keys(RUNTIMES).map((runtime) => ({ runtime, file }))),
  ...(named.length > 0 ? [] : CHECKS.map((words) => ({ words }))),
];
await inTurn(queue, AT_ONCE, async (one) => {
  if ("words" in one) return await check(one.words);
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
const longest = took.sort((a, b) => b.seconds - a.seconds).slice(0, LONGEST_TOLD);
console.log(
  `\nlongest: ${longest.map(({ runtime, file, seconds }) => `${file} on ${runtime} ${seconds} s`).join(", ")}`,
);
if (failedChecks.length > 0) console.log("\nfailed checks, see above:");
for (const words of failedChecks) console.log(`  ${words.join(" ")}`);
for (const [runtime, { failing }] of totals) for (const file of failing) console.log(`failed on ${runtime}: ${file}`);
console.log();
for (const [runtime, { passed, failed }] of totals) console.log(`${runtime}: ${passed} passed, ${failed} failed`);
process.exitCode = failedChecks.length === 0 && [...totals.values()].every(({ failed }) => failed === 0) ? 0 : 1;
