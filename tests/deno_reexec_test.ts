/** A real Deno manager starts a real Deno worker, whichever runtime runs this test. */
import assert from "node:assert/strict";
import { readFileSync, realpathSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer } from "node:net";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { otherRuntimeCommand, runCommand, runtime, type TempDir, tempDir } from "./support/run.ts";

const deno = realpathSync(runtime === "deno" ? process.execPath : otherRuntimeCommand().command);
const root = new URL("../", import.meta.url);
const fixture = fileURLToPath(new URL("fixtures/deno_reexec.ts", import.meta.url));
const options = { timeout: 180_000 };

interface ManagerLine {
  readonly type: "manager";
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
}

interface WorkerLine {
  readonly type: "worker";
  readonly answer: string;
  readonly environment: readonly string[];
  readonly inFull: readonly string[];
  readonly besides: Readonly<Record<"neighbour" | "passwords" | "network" | "home", boolean>>;
  readonly isMain: boolean;
  readonly main: string;
  readonly args: readonly string[];
  readonly exposesGc: boolean;
}

interface Refusal {
  readonly type: "refused";
  readonly message: string;
}

/** A temporary directory with a control socket that greets everyone. */
async function controlDir(): Promise<TempDir & { readonly controlPath: string }> {
  const directory = await tempDir();
  const controlPath = directory.file("prefork.sock");
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.end("welcome");
  });
  await new Promise<void>((resolve) => server.listen(controlPath, resolve));
  return {
    ...directory,
    controlPath,
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => server.close(resolve));
      await directory[Symbol.asyncDispose]();
    },
  };
}

interface RunOptions {
  readonly executable?: string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs a deno command line to its end, and returns the lines of JSON it printed. */
async function run(
  args: readonly string[],
  { executable = deno, ...rest }: RunOptions = {},
): Promise<readonly unknown[]> {
  await using program = runCommand(executable, args, rest);
  const { code } = await program.waitForEnd();
  assert.equal(code, 0, program.report());
  return program.matching(/^\{/).map((line): unknown => JSON.parse(line));
}

function isLine<T extends { readonly type: string }>(line: unknown, type: T["type"]): line is T {
  return typeof line === "object" && line !== null && "type" in line && line.type === type;
}

/** A manager that starts a worker which answers. */
async function started(
  args: readonly string[],
  rest?: RunOptions,
): Promise<{ manager: ManagerLine; worker: WorkerLine }> {
  const [manager, worker] = await run(args, rest);
  assert.ok(isLine<ManagerLine>(manager, "manager"), JSON.stringify(manager));
  assert.ok(isLine<WorkerLine>(worker, "worker"), JSON.stringify(worker));
  assert.equal(worker.answer, "welcome");
  assert.equal(worker.environment[2], "0");
  assert.ok(worker.isMain);
  return { manager, worker };
}

/** The sentence of a manager that starts no worker. */
async function refusal(args: readonly string[], rest?: RunOptions): Promise<string> {
  const [line] = await run(args, rest);
  assert.ok(isLine<Refusal>(line, "refused"), JSON.stringify(line));
  return line.message;
}

function least(controlPath: string): readonly string[] {
  return [
    "--no-prompt",
    `--allow-net=unix:${controlPath}`,
    `--allow-read=${controlPath}`,
    `--allow-write=${controlPath}`,
    "--allow-env=PREFORK_CONTROL,PREFORK_TOKEN,PREFORK_PATH",
  ];
}

const nothingBesides = { neighbour: false, passwords: false, network: false, home: false };

test(
  "with -A, the worker has the manager's flags and arguments, without what is the manager's alone",
  options,
  async () => {
    await using control = await controlDir();
    const words = [control.controlPath, "-", "", "a b", "--watch", "-A"];
    const profile = ["--cpu-prof", "--cpu-prof-dir", control.path];
    const flags = ["-Aq", "--reload", ...profile, "--inspect=127.0.0.1:0", "--v8-flags=--expose-gc"];
    const { manager, worker } = await started(["run", ...flags, fixture, ...words]);
    assert.deepEqual(manager.args.slice(0, 5), ["run", "-A", "-q", "--v8-flags=--expose-gc", "--no-prompt"]);
    assert.equal(manager.command, deno);
    assert.deepEqual(worker.args, words);
    assert.deepEqual(worker.inFull, ["read", "write", "net", "env", "run", "ffi", "sys", "import"]);
    assert.ok(worker.exposesGc);
  },
);

test("the least a worker needs is all it gets", options, async () => {
  await using control = await controlDir();
  const { manager, worker } = await started(["run", "-A", fixture, control.controlPath, "[]"]);
  assert.deepEqual(manager.args.slice(1, 6), least(control.controlPath));
  assert.deepEqual(worker.inFull, []);
  assert.deepEqual(worker.besides, nothingBesides);
});

test("without --allow-ffi and without -A, another process tells the flags", options, async () => {
  await using control = await controlDir();
  const { manager, worker } = await started(["run", "-N", "-E=HOME", "--allow-run", fixture, control.controlPath]);
  assert.deepEqual(manager.args.slice(1, 5), ["-N", "-E=HOME", "--allow-run", "--no-prompt"]);
  assert.deepEqual(worker.inFull, ["net", "run"]);
  assert.deepEqual(worker.besides, { ...nothingBesides, network: true, home: true });
});

test("with --allow-run=deno, that process is another deno, and the worker is run by this name", options, async () => {
  await using control = await controlDir();
  symlinkSync(deno, control.file("deno"));
  const env = { PATH: `${control.path}:${process.env["PATH"]}` };
  const words = ["run", "--no-prompt", "--allow-run=deno", fixture, control.controlPath];
  const { manager, worker } = await started(words, { env, executable: "deno" });
  // The link, not what it leads to; some parents turn the name into a path.
  assert.ok(["deno", control.file("deno")].includes(manager.command), manager.command);
  assert.deepEqual(worker.inFull, []);
  assert.deepEqual(worker.besides, nothingBesides);
});

test("with --allow-run of a path, the worker is run by it", options, async () => {
  await using control = await controlDir();
  const linked = control.file("linked-deno");
  symlinkSync(deno, linked);
  const byLink = ["run", "--no-prompt", `--allow-run=${linked}`, fixture, control.controlPath];
  assert.equal((await started(byLink, { executable: linked })).manager.command, linked);
  const relative = ["run", "--no-prompt", "--allow-run=./linked-deno", fixture, control.controlPath];
  const { manager } = await started(relative, { executable: "./linked-deno", cwd: control.path });
  assert.match(manager.command, /^\/.*linked-deno$/);
  const itself = ["run", "--no-prompt", `--allow-run=${deno}`, fixture, control.controlPath];
  assert.equal((await started(itself)).manager.command, deno);
});

test("with --allow-ffi and no more than the right to read, libc tells the flags", options, async () => {
  await using control = await controlDir();
  const flags = ["-R", "--allow-ffi", `--allow-run=${deno}`];
  const { manager, worker } = await started(["run", ...flags, fixture, control.controlPath]);
  assert.deepEqual(manager.args.slice(1, 5), [...flags, "--no-prompt"]);
  assert.deepEqual(worker.inFull, ["read", "ffi"]);
});

test("nothing may be run: the sentence names the option and the flag", options, async () => {
  await using control = await controlDir();
  const message = await refusal(["run", "--no-prompt", "-R", fixture, control.controlPath]);
  assert.match(message, /by the option denoArgs.*\(--allow-run\)/);
});

test(
  "a permission set is kept if it lets the worker in, and refused with the line to add if not",
  options,
  async () => {
    await using control = await controlDir();
    const { controlPath } = control;
    const runDeno = { run: [deno] };
    const permissions = {
      default: { ...runDeno, net: true, read: [control.path], write: [controlPath], env: ["PREFORK_*"] },
      exact: {
        ...runDeno,
        net: [`unix:${controlPath}`],
        read: [controlPath],
        write: [controlPath],
        env: ["PREFORK_*"],
      },
      poor: { ...runDeno, net: ["example.com"], read: [control.path] },
    };
    writeFileSync(control.file("deno.json"), JSON.stringify({ permissions }));
    const config = ["-c", control.file("deno.json")];
    const kept = await started(["run", ...config, "-P", fixture, controlPath]);
    assert.deepEqual(kept.manager.args.slice(1, 5), [...config, "-P", "--no-prompt"]);
    assert.deepEqual(kept.worker.besides, { neighbour: true, passwords: false, network: true, home: false });
    const exact = await started(["run", ...config, "-P=exact", fixture, controlPath]);
    assert.deepEqual(exact.worker.besides, nothingBesides);
    const message = await refusal(["run", ...config, "-P=poor", fixture, controlPath]);
    assert.match(message, /set "poor" does not .* add "net": true, "write": \[".*"\], "env": \["PREFORK_CONTROL",/);
  },
);

test("a program from the network runs its workers from there, with all permissions and with few", options, async () => {
  await using control = await controlDir();
  const served = createHttpServer((request, response) => {
    try {
      const file = new URL(`.${request.url}`, root);
      assert.ok(file.href.startsWith(root.href));
      response.writeHead(200, { "content-type": "application/typescript" }).end(readFileSync(file));
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise<void>((resolve) => served.listen(0, "127.0.0.1", resolve));
  try {
    const address: AddressInfo | string | null = served.address();
    assert.ok(typeof address === "object" && address !== null);
    const main = `http://127.0.0.1:${address.port}/tests/fixtures/deno_reexec.ts`;
    const env = { DENO_DIR: control.file("cache"), NO_PROXY: "127.0.0.1", no_proxy: "127.0.0.1" };
    const all = await started(["run", "-A", main, control.controlPath], { env });
    assert.equal(all.worker.main, main);
    const few = await started(["run", "--no-prompt", "--allow-run", main, control.controlPath], { env });
    assert.equal(few.worker.main, main);
    assert.deepEqual(few.worker.inFull, ["run"]);
  } finally {
    served.closeAllConnections();
    await new Promise((resolve) => served.close(resolve));
  }
});

test("a task's program is started as the task does", options, async () => {
  await using control = await controlDir();
  const go = `deno run -A --quiet ${JSON.stringify(fixture)} ${JSON.stringify(control.controlPath)} - 'a b'`;
  writeFileSync(control.file("deno.json"), JSON.stringify({ tasks: { go } }));
  const { manager, worker } = await started(["task", "go", "c"], { cwd: control.path });
  assert.deepEqual(manager.args.slice(0, 4), ["run", "-A", "--quiet", "--no-prompt"]);
  assert.deepEqual(worker.args, [control.controlPath, "-", "a b", "c"]);
  assert.equal(manager.cwd, realpathSync(control.path));
});

test("programs without a file are refused", options, async () => {
  await using control = await controlDir();
  const code = `import ${JSON.stringify(new URL("fixtures/deno_reexec.ts", import.meta.url).href)}`;
  assert.match(await refusal(["eval", code, control.controlPath]), /from eval cannot be run again as a worker/);
});

test("a denied socket is refused, with the flag that denies it", options, async () => {
  await using control = await controlDir();
  const { controlPath } = control;
  const message = await refusal(["run", "-A", `--deny-read=${control.path}`, fixture, controlPath]);
  assert.match(message, /for --deny-read=\S+ would deny it read access to \S+: leave that out/);
  const beside = ["run", `-R=${control.path}`, "--deny-read=/etc", `--allow-run=${deno}`, fixture, controlPath];
  assert.deepEqual((await started(beside)).worker.inFull, []);
  const listed = ["run", "-N=example.com", "--deny-net", `--allow-run=${deno}`, fixture, controlPath];
  assert.deepEqual((await started(listed)).worker.inFull, []);
});
