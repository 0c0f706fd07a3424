// deno-lint-ignore-file no-console
/**
 * All checks, then all tests on both runtimes at once, as `npm test` runs them: one closing line per runtime. Runs on
 * Node, which npm needs anyway; the runtimes under test are the ones npm installed.
 */
import { spawn, spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const bin = join(root, "node_modules", ".bin");
const env = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}`, NO_COLOR: "1" };
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
  ["deno", "doc", "--lint", "mod.ts", "src/define_config.ts", "runtimes/deno.ts", "runtimes/bun.ts"],
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

/** Runs a command whose output goes to a file, so that two can run at once and each is read as a whole. */
async function runApart(command, args, file) {
  const output = openSync(file, "w");
  const child = spawn(command, args, { cwd: root, env, stdio: ["ignore", output, output] });
  const ended = await new Promise((resolve) => child.on("close", (status, signal) => resolve(signal ?? status)));
  closeSync(output);
  return ended;
}

async function test(runtime, args, report) {
  const file = `${report}.log`;
  const ended = await runApart(runtime, args, file);
  const ok = ended === 0;
  console.log(`\n$ ${runtime} ${args.join(" ")}\n${readFileSync(file, "utf8")}`);
  if (!ok) console.log(`${runtime} ended with ${typeof ended === "string" ? ended : `status ${ended}`}`);
  let counted = { passed: 0, failed: 0 };
  try {
    counted = count(readFileSync(report, "utf8"));
  } catch {
    console.log(`${runtime} wrote no report`);
  }
  const { passed, failed } = counted;
  // A file that does not load, or a leak after the last test, fails the run without failing a test.
  return { ok, line: `${runtime}: ${passed} passed, ${ok ? failed : Math.max(failed, 1)} failed` };
}

const files = process.argv.slice(2);
const failedChecks = (files.length > 0 ? [] : CHECKS).filter(([command, ...args]) => !run(command, args));
const denoReport = join(reports, "deno.xml");
const bunReport = join(reports, "bun.xml");
const [deno, bun] = await Promise.all([
  test(
    "deno",
    ["test", "-A", `--junit-path=${denoReport}`, ...(files.length > 0 ? files : ["tests/"])],
    denoReport,
  ),
  test("bun", ["test", "--reporter=junit", `--reporter-outfile=${bunReport}`, ...files], bunReport),
]);
rmSync(reports, { recursive: true, force: true });

if (failedChecks.length > 0) console.log("\nfailed checks, see above:");
for (const words of failedChecks) console.log(`  ${words.join(" ")}`);
console.log(`\n${deno.line}\n${bun.line}`);
process.exitCode = failedChecks.length === 0 && deno.ok && bun.ok ? 0 : 1;
