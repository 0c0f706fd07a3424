import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { currentHost } from "../runtimes/current.ts";
import { currentCommandLine } from "../runtimes/current_cli.ts";
import { parseEnvFile } from "../src/cli/env_file.ts";
import { HELP } from "../src/cli/help.ts";
import { COMMAND_NAMES, meantBy } from "../src/cli/parse_order.ts";
import { parse } from "../src/cli/parse.ts";
import { poolOptions } from "../src/cli/pool_options.ts";
import { prepare } from "../src/cli/prepare.ts";
import type { Request, RunRequest } from "../src/cli/request.ts";
import { DEFAULT_TRAPS } from "../src/cli/values.ts";
import { nearest } from "../src/nearest.ts";
import { VERSION } from "../src/version.ts";

/** What differs from `prefork app.ts`. */
type Wanted = Partial<Omit<RunRequest, "kind" | "targetOrigin" | "given">>;

const app = (...args: string[]): Wanted => ({ target: { type: "module", module: "app.ts", args } });
const command = (name: string, ...args: string[]): Wanted => ({ target: { type: "command", command: name, args } });

const UNDERSTOOD: readonly [string, Wanted][] = [
  ["app.ts", {}],
  ["run app.ts", {}],
  ["run ./run", { target: { type: "module", module: "./run", args: [] } }],
  ["run run", { target: { type: "module", module: "run", args: [] } }],
  ["-w 2 run app.ts", { options: { workers: 2 } }],
  ["app.ts -w 2", { options: { workers: 2 } }],
  ["-w2 app.ts", { options: { workers: 2 } }],
  ["-w=2 app.ts", { options: { workers: 2 } }],
  ["--workers 2 app.ts", { options: { workers: 2 } }],
  ["--workers=2 app.ts", { options: { workers: 2 } }],
  ["-w 2 -w 3 app.ts", { options: { workers: 3 } }],
  ["-w 0 app.ts", { options: { workers: 0 } }],
  ["app.ts -- -w 2 --help", app("-w", "2", "--help")],
  ["app.ts -- a -- b", app("a", "--", "b")],
  ["app.ts --", {}],
  ["-- ls -l", command("ls", "-l")],
  ["run -- ls", command("ls")],
  ["run -w 4 -- ls -- -l", { ...command("ls", "--", "-l"), options: { workers: 4 } }],
  ["https://example.org/app.ts", { target: { type: "module", module: "https://example.org/app.ts", args: [] } }],
  ["app.ts --spare 3:8", { options: { spare: { minSpare: 3, maxSpare: 8 } } }],
  ["app.ts --spare 3", { options: { spare: { minSpare: 3, maxSpare: Infinity } } }],
  ["app.ts --runtime bun --cwd /srv", { options: { runtime: "bun", cwd: "/srv" } }],
  ["app.ts --umask 027 --rlimit nofile=1024:65536", { options: { umask: "027", rlimit: ["nofile=1024:65536"] } }],
  [
    "app.ts --rlimit core=unlimited --rlimit=as=1.5G",
    { options: { rlimit: ["core=unlimited", "as=1.5G"] } },
  ],
  ["app.ts --user nobody --group 33", { options: { user: "nobody", group: "33" } }],
  ["app.ts --env-file .env --name web", { options: { envFile: ".env", name: "web" } }],
  ["app.ts --stop-timeout 500ms", { options: { stopTimeoutMs: 500 } }],
  ["app.ts --stop-timeout 1.5s", { options: { stopTimeoutMs: 1500 } }],
  ["app.ts --stop-timeout 0", { options: { stopTimeoutMs: 0 } }],
  ["app.ts --boot-timeout=2m", { options: { bootTimeoutMs: 120_000 } }],
  ["app.ts --ready-when /healthz", { options: { readyWhen: { http: "/healthz" } } }],
  ["app.ts --ready-when http://h:900{slot}/x", { options: { readyWhen: { http: "http://h:900{slot}/x" } } }],
  ["app.ts --ready-when=tcp:h:900{slot}", { options: { readyWhen: { tcp: "h:900{slot}" } } }],
  ["app.ts --ready-when tcp:unix:/s", { options: { readyWhen: { tcp: "unix:/s" } } }],
  ["app.ts --ready-when unix:/s", { options: { readyWhen: { tcp: "unix:/s" } } }],
  ["app.ts --daemonize", { options: { daemonize: true } }],
  ["app.ts --daemonized=/run/x/daemon.sock", { options: { daemonized: "/run/x/daemon.sock" } }],
  ["app.ts --drain-delay 5s", { options: { drainDelayMs: 5000 } }],
  ["app.ts --drain-timeout 5s", { options: { drainTimeoutMs: 5000 } }],
  ["app.ts -l 8080", { options: { listen: ["8080"] } }],
  ["app.ts -l8080 -l=[::1]:80 --listen=a=unix:/x", { options: { listen: ["8080", "[::1]:80", "a=unix:/x"] } }],
  ["app.ts -l fd:3 -l inherit", { options: { listen: ["fd:3", "inherit"] } }],
  ["app.ts --backlog 9 --no-adoption", { options: { backlog: 9, adoption: false } }],
  ["app.ts --watch --no-watch --no-adoption --adoption", { options: { adoption: true, watch: false } }],
  ["app.ts --no-watch --watch --adoption --no-adoption", { options: { adoption: false, watch: true } }],
  ["app.ts --socket-mode 660 --socket-owner a:b", { options: { socketMode: 0o660, socketOwner: "a:b" } }],
  ["app.ts --log-format plain", { options: { logFormat: "plain" } }],
  ["app.ts -A", { denoArgs: ["-A"] }],
  ["app.ts --allow-net=:80 --deny-read", { denoArgs: ["--allow-net=:80", "--deny-read"] }],
  ["app.ts -t USR2=reload", { trapSignals: { ...DEFAULT_TRAPS, SIGUSR2: { signal: "SIGTERM", replace: "before" } } }],
  [
    "app.ts --hang-timeout 5s --max-requests 9 --max-lifetime 1h --max-memory 1.5G",
    { options: { hangTimeoutMs: 5000, maxRequests: 9, maxLifetimeMs: 3_600_000, maxMemoryBytes: 1.5 * 2 ** 30 } },
  ],
  ["app.ts --surge 2 --unavailable=1", { options: { maxSurge: 2, maxUnavailable: 1 } }],
  ["app.ts -t HUP=QUIT", { trapSignals: { ...DEFAULT_TRAPS, SIGHUP: "SIGQUIT" } }],
  ["app.ts -tSIGHUP=sigquit", { trapSignals: { ...DEFAULT_TRAPS, SIGHUP: "SIGQUIT" } }],
  ["app.ts --trap=term=quit", { trapSignals: { ...DEFAULT_TRAPS, SIGTERM: "SIGQUIT" } }],
  ["app.ts -t USR2=none", { trapSignals: { ...DEFAULT_TRAPS, SIGUSR2: null } }],
  ["app.ts -t USR2=TERM:500", { trapSignals: { ...DEFAULT_TRAPS, SIGUSR2: { signal: "SIGTERM", intervalMs: 500 } } }],
  ["app.ts -t USR2=TERM:1s", { trapSignals: { ...DEFAULT_TRAPS, SIGUSR2: { signal: "SIGTERM", intervalMs: 1000 } } }],
  ["app.ts -t HUP=none -t USR2=HUP", { trapSignals: { ...DEFAULT_TRAPS, SIGHUP: null, SIGUSR2: "SIGHUP" } }],
];

function withoutOrigins(request: Request): unknown {
  if (request.kind !== "run") return request;
  const { given: _, targetOrigin: __, ...rest } = request;
  return rest;
}

test("parse() understands", () => {
  for (const [line, wanted] of UNDERSTOOD) {
    const all = { kind: "run", target: app().target, options: {}, trapSignals: DEFAULT_TRAPS, denoArgs: [], ...wanted };
    assert.deepEqual(withoutOrigins(parse(line.split(" "))), all, line);
  }
});

const REFUSED: readonly [string, RegExp][] = [
  ["", /^Cannot tell what to run: give a WORKER module, a command after --, or a prefork.config.ts; --help shows all$/],
  ["run", /^Cannot tell what to run/],
  ["-w 2", /^Cannot tell what to run/],
  ["--", /^Cannot tell what to run/],
  ["-- -x", /^Cannot run '-x': no command begins with a dash; .* 'args' says there$/],
  ["app.ts other.ts", /^Cannot use 'other.ts' beside the worker app.ts: .* its own arguments go after --$/],
  [
    "stauts web",
    /^Cannot use 'web' beside the worker stauts: .* go after --; did you mean the command 'status'\?$/,
  ],
  ["relaod web --wait", /^Cannot understand --wait: .*; did you mean the command 'reload'\?$/],
  ["start app.ts --wokers 3", /; did you mean --workers, or the command 'run'\?$/],
  ["chekc app.ts", /did you mean the command 'check'\?$/],
  ["check app.ts -w x", /such as 4$/],
  ["stauts.ts web", /go after --$/],
  ["app.ts --wrokers 2", /^Cannot understand --wrokers: there is no such option; did you mean --workers\?$/],
  ["app.ts --stop-timout=3s", /did you mean --stop-timeout\?$/],
  ["app.ts --allow-nett", /did you mean --allow-net\?$/],
  ["app.ts --allow-nett=x", /^Cannot understand --allow-nett=x: /],
  ["--help=foo", /^Cannot use a value for --help, as in --help=foo: it takes none$/],
  ["app.ts --daemonize=yes", /^Cannot use a value for --daemonize, .*: it takes none$/],
  ["app.ts --no-watch=yes", /^Cannot use a value for --no-watch, .*: it takes none$/],
  ["app.ts --deamonize", /did you mean --daemonize\?$/],
  ["-V=1 app.ts", /^Cannot use a value for --version, as in -V=1: it takes none$/],
  ["app.ts -x", /^Cannot understand -x: there is no such option; --help lists all$/],
  ["app.ts -w", /^Cannot use -w without a value: give one, as in -w 4$/],
  ["app.ts -w --name x", /^Cannot use -w without a value/],
  ["app.ts --log-format", /as in --log-format json$/],
  ["app.ts -w four", /^Cannot use 'four' for --workers: it must be a whole number, such as 4$/],
  ["app.ts -w -1", /^Cannot use '-1' for --workers: it must be 0 or more$/],
  ["app.ts -w 1.5", /^Cannot use '1.5' for --workers/],
  ["app.ts --spare 8:3", /MAX must not be less than MIN, as in --spare 3:8$/],
  ["app.ts --spare 0:3", /at least 1 worker must be spare$/],
  ["app.ts --spare x", /it must be MIN:MAX, such as --spare 3:8$/],
  ["app.ts --ready-when healthz", /^Cannot use 'healthz' for --ready-when: it must be a path, such as \/healthz, /],
  ["app.ts --stop-timeout 30", /^Cannot use '30' for --stop-timeout: say whether 30s or 30ms is meant$/],
  ["app.ts --stop-timeout soon", /it must be a time, such as 30s, 500ms or 2m$/],
  ["app.ts --stop-timeout 3d", /it must be a time/],
  ["app.ts --log-format xml", /the formats are pretty, json, plain, journal$/],
  ["app.ts -t HUP", /it must be SIG=ACTION/],
  ["app.ts -t HUPP=TERM", /^Cannot use 'HUPP' in -t HUPP=TERM: there is no such signal; did you mean HUP\?$/],
  [
    "app.ts -t HUP=relaod",
    /^Cannot use 'relaod' in -t HUP=relaod: .* an action is reload, a signal \(TERM\), .* or none$/,
  ],
  ["app.ts -t TERM=reload", /^Cannot use -t TERM=reload: SIGTERM stops the pool, so the workers must be told/],
  ["app.ts --max-memory 512", /^Cannot use '512' for --max-memory: it must be a size, such as 512M or 1G$/],
  ["app.ts --umask 8", /^Cannot use '8' for --umask: it must be octal digits, such as 027, and leave this user all/],
  ["app.ts --umask 700", /^Cannot use '700' for --umask/],
  ["app.ts --rlimit nofile", /^Cannot use 'nofile' for --rlimit: it must be NAME=LIMIT or NAME=SOFT:HARD, such as/],
  ["app.ts --rlimit constructor=5", /there is no such limit as 'constructor'/],
  ["app.ts --rlimit nofiles=1", /there is no such limit as 'nofiles'; did you mean nofile\?$/],
  ["app.ts --rlimit RLIMIT_CORE=0", /did you mean core\?$/],
  ["app.ts --rlimit x=1", /there is no such limit as 'x'; they are cpu, fsize, /],
  ["app.ts --rlimit nofile=many", /^Cannot use 'many' in --rlimit nofile=many: it must be a whole number, a size/],
  ["app.ts --rlimit nofile=9:3", /SOFT must not be more than HARD, as in nofile=3:9$/],
  ["app.ts --surge many", /^Cannot use 'many' for --surge: it must be a whole number/],
  ["app.ts -t HUP=TREM", /did you mean TERM\?$/],
  ["app.ts -t HUP=TERM:soon", /^Cannot use 'soon' for the time in -t HUP=TERM:soon/],
  ["app.ts -t HUP=TERM:", /^Cannot use '' for the time in/],
  ["app.ts -t KILL=TERM", /^Cannot trap SIGKILL, .*: no process can$/],
  ["app.ts -t CHLD=TERM", /^Cannot trap SIGCHLD, .*: the runtime needs it$/],
  ["app.ts -t TERM=none", /SIGTERM stops the pool, so the workers must be told/],
];

test("parse() refuses in a sentence", () => {
  for (const [line, message] of REFUSED) {
    const request = parse(line.split(" ").filter((word) => word !== ""));
    assert.equal(request.kind, "error", line);
    if (request.kind === "error") assert.match(request.message, message, line);
  }
});

test("parse() refuses what is empty", () => {
  const cases: readonly [readonly string[], RegExp][] = [
    [[""], /^Cannot use '' as the worker: /],
    [["run", ""], /^Cannot use '' as the worker: /],
    [["--", ""], /^Cannot use '' as the command: /],
    [["app.ts", "--env-file="], /^Cannot use --env-file without a value: give one, as in --env-file \.env$/],
    [["app.ts", "--user", ""], /^Cannot use --user without a value: give one, as in --user www-data$/],
    [["app.ts", "-w="], /^Cannot use --workers without a value/],
    [["app.ts", "--trap", ""], /^Cannot use --trap without a value/],
  ];
  for (const [args, message] of cases) {
    const request = parse(args);
    assert.equal(request.kind, "error", args.join(" "));
    if (request.kind === "error") assert.match(request.message, message);
  }
});

test("nearest() takes nothing for a slip of a word it shares no letter with", () => {
  assert.equal(nearest("", ["lp", "a"]), undefined);
  assert.equal(nearest("x", ["lp", "a"]), undefined);
  assert.equal(nearest("pl", ["lp", "mail"]), "lp");
  assert.equal(nearest("mial", ["lp", "mail"]), "mail");
});

test("parse() gives help and version, unless they are meant for the worker", () => {
  for (const line of ["--help", "-h", "app.ts --help", "run -h"]) {
    assert.deepEqual(parse(line.split(" ")), { kind: "help" }, line);
  }
  for (const line of ["--version", "-V", "app.ts -V"]) {
    assert.deepEqual(parse(line.split(" ")), { kind: "version" }, line);
  }
  assert.equal(parse(["app.ts", "--", "--help"]).kind, "run");
});

test("a worker has as long to finish in a reload as to stop, and longer than to drain", async () => {
  const times = async (words: string) => {
    const request = parse(`${words} -- sleep 1`.trim().split(" "));
    assert.ok(request.kind === "run", request.kind);
    const prepared = await prepare(request, currentHost, currentCommandLine);
    return poolOptions(request, prepared).reloadTimeoutMs;
  };
  assert.equal(await times(""), 30_000);
  assert.equal(await times("--drain-timeout 60s"), 90_000);
  assert.equal(await times("--drain-timeout 2s --stop-timeout 5s"), 5000);
});

test("the help names every command", () => {
  for (const name of COMMAND_NAMES) assert.match(HELP, new RegExp(`\\b${name}\\b(?!-)`), name);
});

test("meantBy() knows slips, and what others call a command", () => {
  const cases: readonly [string, string | undefined][] = [
    ["staus", "the command 'status'"],
    ["start", "the command 'run'"],
    ["ps", "the command 'list'"],
    ["restart", "the command 'reload'"],
    ["help", "--help"],
    ["version", "--version"],
    ["run", undefined],
    ["help.ts", undefined],
    ["./ps", undefined],
    ["constructor", undefined],
  ];
  for (const [word, meant] of cases) assert.equal(meantBy(word), meant, word);
});

test("the help fits on a screen", () => {
  const lines = HELP.split("\n");
  assert.ok(lines.length <= 46, `${lines.length} lines`);
  for (const line of lines) assert.ok(line.length <= 104, line);
});

test("parseEnvFile() reads what dotenv reads", () => {
  const text = [
    "\ufeff# comment",
    "A=1",
    "export B = two words  # comment",
    "C=",
    "D='single # kept \\n'  # comment",
    'E="line\\nnext \\"quoted\\" \\$"',
    'F="over',
    'two lines"',
    "G=a#b",
    "H=`back'tick`\r",
    "",
    "   ",
    "A=again",
  ].join("\n");
  assert.deepEqual(Object.fromEntries(parseEnvFile(".env", text)), {
    A: "again",
    B: "two words",
    C: "",
    D: "single # kept \\n",
    E: 'line\nnext "quoted" \\$',
    F: "over\ntwo lines",
    G: "a#b",
    H: "back'tick",
  });
});

test("parseEnvFile() names file and line of a mistake", () => {
  const cases: readonly [string, RegExp][] = [
    ["A=1\nB", /^Cannot read x\.env, line 2: it is not NAME=value$/],
    ["1A=1", /line 1: it is not NAME=value$/],
    ["A=1\n\nB='open\nC=2", /line 3: the ' is never closed$/],
    ["A='one' two", /line 1: something stands after the closing '$/],
  ];
  for (const [text, message] of cases) {
    assert.throws(() => parseEnvFile("x.env", text), { name: "UsageError", message }, text);
  }
});

test("the version is the same everywhere", () => {
  for (const file of ["deno.json", "package.json"]) {
    const { version } = JSON.parse(readFileSync(new URL(`../${file}`, import.meta.url), "utf8"));
    assert.equal(version, VERSION, file);
  }
});
