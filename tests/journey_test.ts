/** The journey of an operator who is new to all this, and knows nothing but what `--help` says. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import type { StatusReport } from "../src/operator/report.ts";
import type { Where } from "./support/client.ts";
import { keepAlive, load, oneShot, type Tally } from "./support/load.ts";
import { type Answer, ask, options } from "./support/operator.ts";
import { isAlive, type Program, runCommand, runtime, type TempDir, tempDir, waitFor } from "./support/run.ts";

/** Where the words of the help, `mod.ts` for one, mean what they say. */
const root = fileURLToPath(new URL("..", import.meta.url));

/** Short for the one that is never ready, and enough for the others, who compete for the machine. */
const BOOT_TIMEOUT_MS = 8000;

/** Deploys that go wrong: a line on top of a worker that worked, what is told of it, and what it printed. */
const BROKEN = [
  {
    line: `throw new Error("no such table: users");`,
    refusal: "exited with status 1 before it was ready",
    printed: "no such table: users",
  },
  {
    line: `console.error("the licence has expired"); process.exit(7);`,
    refusal: "exited with status 7 before it was ready",
    printed: "the licence has expired",
  },
  {
    line: `console.error("waits for a lock"); setInterval(() => {}, 1000); await new Promise(() => {});`,
    refusal:
      `was killed: it was not ready within ${BOOT_TIMEOUT_MS} ms: it has neither begun to serve nor called ready()`,
    printed: "waits for a lock",
  },
] as const;

type Broken = typeof BROKEN[number];

/** A worker whose answers tell its build and its pid, in the shape that `support/load.ts` asks for. */
function moduleOf(build: string, top = ""): string {
  return `import process from "node:process";
${top}
export default {
  fetch(request: Request): Response {
    return new Response(\`${build}:\${process.pid} \${new URL(request.url).pathname.slice("/word/".length)}\`);
  },
};
`;
}

/** What stands in a text, with its first group. */
function found(text: string, pattern: RegExp): readonly [string, string] {
  const match = pattern.exec(text);
  assert.ok(match, `nothing is said of ${pattern} by\n${text}`);
  const [all, first = ""] = match;
  return [all, first];
}

/** Somebody at a shell who has read the help, and types only what stands there. */
class Operator {
  readonly #help: string;
  readonly #orders: string;
  readonly #place: TempDir;

  private constructor(help: string, orders: string, place: TempDir) {
    this.#help = help;
    this.#orders = orders;
    this.#place = place;
  }

  /** @param place Where managers have their sockets, and one is to find the other. */
  static async learn(place: TempDir): Promise<Operator> {
    const read = async (...words: readonly string[]): Promise<string> => {
      const { code, out, errors } = await ask({ temporary: place.path }, ...words);
      assert.deepEqual([code, errors], [0, ""]);
      return out;
    };
    const help = await read("--help");
    const [, more] = found(help, /its commands: prefork (\w+ --\w+)\)/);
    return new Operator(help, await read(...more.split(" ")), place);
  }

  /** Runs a module with options that have a value. */
  run(module: string, ...given: readonly (readonly [option: string, value: string])[]): Program {
    found(this.#help, /^ {2}prefork \[run\] WORKER \[options\]/m);
    found(this.#help, /^ {2}prefork \S+\.ts .* a module that exports \{ fetch \}/m);
    found(this.#help, /^ {2}-l, --listen ADDR .* HOST:PORT, .* unix:PATH,/m);
    for (const [option] of given) found(this.#help, new RegExp(`(?:^| )${option}(?:, --\\w+)? [A-Z]+`, "m"));
    return this.#type(module, ...given.flat());
  }

  /** Gives a command to the manager. */
  async tell(command: string, ...given: readonly string[]): Promise<Answer> {
    found(this.#help, new RegExp(`^ {2}prefork [a-z|]*\\b${command}\\b[a-z|]* +each has --help$`, "m"));
    const [line, usage] = found(this.#orders, new RegExp(`^ {2}prefork ${command}((?: \\S+)*) {2,}\\S`, "m"));
    const room: readonly string[] = usage.match(/[\w-]+/g) ?? [];
    const [asOptions, asWords] = [given.filter(isOption), given.filter((word) => !isOption(word))];
    for (const option of asOptions) assert.ok(room.includes(option), `there is no ${option} in ${line}`);
    assert.ok(asWords.length <= room.filter((word) => !isOption(word)).length, `too much for ${line}: ${asWords}`);
    await using typed = this.#type(command, ...given);
    const { code } = await typed.waitForEnd();
    return { code, out: typed.lines.join("\n"), errors: typed.errorLines.join("\n") };
  }

  #type(...words: readonly string[]): Program {
    const [, program] = found(this.#help, new RegExp(`For "prefork" write .*"${runtime} (run[^"]* mod\\.ts)"`));
    return runCommand(process.execPath, [...program.split(" "), ...words], {
      cwd: root,
      env: { XDG_RUNTIME_DIR: this.#place.path },
    });
  }

  /** The state of a manager; undefined where there is none of that name yet. */
  async look(name: string): Promise<StatusReport | undefined> {
    const { code, out } = await this.tell("status", name, "--json");
    return code === 0 ? JSON.parse(out) : undefined;
  }
}

function isOption(word: string): boolean {
  return word.startsWith("-");
}

/** Who answers from now on; what was asked before does not count. */
async function answering(tallies: readonly Tally[]): Promise<readonly string[]> {
  await answers(tallies, 3);
  for (const { workers } of tallies) workers.clear();
  await answers(tallies, 30);
  return tallies.flatMap(({ workers }) => [...workers]);
}

/** Waits until each client has got so many more answers. */
async function answers(tallies: readonly Tally[], more: number): Promise<void> {
  const count = ({ answered }: Tally): number => Object.values(answered).reduce((sum, each) => sum + each, 0);
  const goals = tallies.map((tally) => ({ tally, goal: count(tally) + more }));
  await waitFor(() => goals.every(({ tally, goal }) => count(tally) >= goal), {
    what: `${more} more answers for each`,
  });
}

/** Whether anybody listens. */
function isOpen(where: Where): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect("port" in where ? { ...where, host: "127.0.0.1" } : where);
    socket.once("error", () => resolve(false));
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
  });
}

/** The tallies of clients, the manager they ask, and its operator. */
interface Scene {
  readonly operator: Operator;
  readonly manager: Program;
  readonly tallies: readonly Tally[];
}

/** Looks until so many workers are ready, and nothing is under way. */
async function lookUntil({ operator, manager }: Omit<Scene, "tallies">, count: number): Promise<StatusReport> {
  return await waitFor(async () => {
    const status = await operator.look("web");
    if (status === undefined) assert.ok(isAlive(manager.pid), manager.report());
    return status?.state === "running" && status.ready === count && status;
  }, { what: `${count} ready workers` });
}

/** Asks for a reload that has to be refused, and sees that all is as it was. */
async function seeRefused(scene: Scene, { refusal, printed }: Broken, before: StatusReport): Promise<void> {
  const { operator } = scene;
  const { code, out, errors } = await operator.tell("reload", "web", "--wait");
  assert.deepEqual([code, out], [1, ""], errors);
  const sentence = errors.split("\n").at(-1) ?? "";
  assert.ok(sentence.startsWith("prefork: Cannot reload: worker=0 "), sentence);
  assert.ok(sentence.includes(`${refusal}. Generation ${before.generation} goes on serving; `), sentence);
  const [, hint] = found(sentence, /'prefork logs (.*)' shows what was printed$/);
  const log = await operator.tell("logs", hint);
  assert.ok(log.out.includes(printed), log.out);
  const after = await lookUntil(scene, before.ready);
  assert.deepEqual([after.generation, pidsOf(after)], [before.generation, pidsOf(before)]);
  await seeOnly(scene, "first", before);
}

/** Sees that all answers come from these workers, and from this build. */
async function seeOnly({ tallies }: Scene, build: string, status: StatusReport): Promise<void> {
  const names = new Set(pidsOf(status).map((pid) => `${build}:${pid}`));
  assert.deepEqual((await answering(tallies)).filter((name) => !names.has(name)), []);
}

function pidsOf({ workers }: StatusReport): readonly number[] {
  return workers.map(({ pid }) => pid);
}

describe(`an operator who is new to it, on ${runtime}`, () => {
  it("starts, looks, scales, breaks a deploy, mends it, reloads and stops, by what --help says", options, async () => {
    await using place = await tempDir();
    await using dir = await tempDir();
    const operator = await Operator.learn(place);
    const [file, path, log, pidFile] = [dir.file("app.ts"), dir.file("http.sock"), dir.file("log"), dir.file("pid")];
    writeFileSync(file, moduleOf("first"));
    await using manager = operator.run(
      file,
      ["--name", "web"],
      ["-w", "2"],
      ["-l", "127.0.0.1:0"],
      ["-l", `unix:${path}`],
      ["--boot-timeout", `${BOOT_TIMEOUT_MS / 1000}s`],
      ["--log-file", log],
      ["--pid-file", pidFile],
    );

    const first = await lookUntil({ operator, manager }, 2);
    assert.deepEqual([first.name, first.pid, first.generation, first.maxWorkers], ["web", manager.pid, 1, 2]);
    assert.equal(readFileSync(pidFile, "utf8").trim(), `${manager.pid}`);
    assert.match((await operator.tell("status", "web")).out, /^web: running, 2 of 2 workers ready, generation 1\n/);
    const port = Number(first.listeners[0]?.address.split(":").at(-1));
    await using brief = load({ port }, [oneShot]);
    await using long = load({ port }, [keepAlive(0)]);
    await using local = load({ path }, [oneShot]);
    const loads = [brief, long, local];
    const scene = { operator, manager, tallies: loads.map(({ tally }) => tally) };

    const scaled = await operator.tell("scale", "3", "web");
    assert.deepEqual([scaled.code, scaled.out], [0, "3 workers from now on, 2 before"]);
    const before = await lookUntil(scene, 3);
    assert.match((await operator.tell("list")).out, new RegExp(`^web +${manager.pid} +running +3/3 .*:${port}`, "m"));

    for (const broken of BROKEN) {
      writeFileSync(file, moduleOf("broken", broken.line));
      await seeRefused(scene, broken, before);
    }

    writeFileSync(file, moduleOf("second"));
    const mended = await operator.tell("reload", "web", "--wait");
    assert.equal(mended.code, 0, mended.errors);
    const after = await lookUntil(scene, 3);
    assert.equal(mended.out, `generation ${after.generation} serves, with 3 workers`);
    assert.ok(after.workers.every(({ generation }) => generation === after.generation), JSON.stringify(after));
    await seeOnly(scene, "second", after);
    const logged = await operator.tell("logs", "web", "-n", "1000");
    assert.deepEqual([logged.code, logged.out], [0, readFileSync(log, "utf8").trimEnd()]);

    for (const each of loads) await each.stop();
    assert.deepEqual(scene.tallies.flatMap(({ failures }) => failures), []);
    const stopped = await operator.tell("stop", "web", "--wait");
    assert.deepEqual([stopped.code, stopped.out], [0, "stopped"], stopped.errors);
    assert.deepEqual(manager.processes(), [], "of the manager and its workers");
    assert.deepEqual(await manager.waitForEnd(), { code: 0, signal: null }, manager.report());
    assert.deepEqual(await Promise.all([isOpen({ port }), isOpen({ path })]), [false, false]);
    assert.deepEqual(readdirSync(`${place.path}/prefork`), []);
    assert.deepEqual(readdirSync(dir.path).sort(), ["app.ts", "log"]);
    assert.equal((await operator.tell("status", "web")).code, 3);
  });
});
