import assert from "node:assert/strict";
import { describe, it, test } from "node:test";
import { checkRepeatable, type DenoLine, parseFlags, parseLine } from "../runtimes/deno_flags.ts";
import {
  checkCompiled,
  denoManagerFlags,
  denoWorkerFlags,
  type Granted,
  WORKER_ENV_NAMES,
} from "../runtimes/deno_grants.ts";

const P = "/tmp/prefork-abc/worker.sock";
const ENV = "PREFORK_CONTROL,PREFORK_TOKEN,PREFORK_PATH";
const NET = `--allow-net=unix:${P}`;
const READ = `--allow-read=${P}`;
const WRITE = `--allow-write=${P}`;
const LEAST = `${NET} ${READ} ${WRITE} --allow-env=${ENV}`;
const IMPORTS = "deno.land:443,jsr.io:443,esm.sh:443,raw.esm.sh:443,cdn.jsdelivr.net:443,\
raw.githubusercontent.com:443,gist.githubusercontent.com:443";

interface Case {
  /** The manager's command line: words without spaces, the program `m.ts`, its arguments. */
  readonly line: string;
  /** What the program sees as its arguments. */
  readonly args?: string;
  readonly denoArgs?: string;
  readonly form?: "self" | "module";
  readonly preload?: string;
  /** What the manager may do beyond what nobody denies it; everything by default. */
  readonly granted?: Granted;
  readonly holdsAll?: boolean;
  /** The worker's flags, or what the refusal says. */
  readonly expect: string | RegExp;
}

const nothing: Granted = () => false;
const except = (...denied: string[]): Granted => (_, value) => !denied.includes(value ?? "");

const CASES: readonly Case[] = [
  // Permissions.
  { line: "deno run -A m.ts", expect: "-A --no-prompt" },
  { line: "deno run --allow-all m.ts", expect: "--allow-all --no-prompt" },
  { line: "deno run m.ts", expect: `--no-prompt ${LEAST}` },
  { line: "deno run --no-prompt m.ts", expect: `--no-prompt ${LEAST}` },
  { line: "deno run -N -R -W -E m.ts", expect: "-N -R -W -E --no-prompt" },
  { line: "deno run -RWNE m.ts", expect: "-R -W -N -E --no-prompt" },
  {
    line: "deno run --allow-net --allow-run=deno m.ts",
    expect: `--allow-net --allow-run=deno --no-prompt ${READ} ${WRITE} --allow-env=${ENV}`,
  },
  { line: "deno run -N=example.com -RWE m.ts", expect: `-N=example.com -R -W -E --no-prompt ${NET}` },
  {
    line: "deno run --allow-net --allow-net=a.com -RWE m.ts",
    expect: `--allow-net --allow-net=a.com -R -W -E --no-prompt ${NET}`,
  },
  { line: "deno run -R=/srv -NWE m.ts", expect: `-R=/srv -N -W -E --no-prompt ${READ}` },
  { line: "deno run -R/srv -NWE m.ts", expect: `-R/srv -N -W -E --no-prompt ${READ}` },
  { line: "deno run -RW=/srv -NE m.ts", expect: `-R -W=/srv -N -E --no-prompt ${WRITE}` },
  {
    line: "deno run -RWN -E=HOME,PREFORK_PATH m.ts",
    expect: "-R -W -N -E=HOME,PREFORK_PATH --no-prompt --allow-env=PREFORK_CONTROL,PREFORK_TOKEN",
  },
  { line: `deno run ${LEAST} m.ts`, expect: `${LEAST} --no-prompt` },
  // Denials: the more exact rule wins.
  {
    line: "deno run -RWE -N --deny-net m.ts",
    granted: except(`unix:${P}`),
    expect: `-R -W -E -N --deny-net --no-prompt ${NET}`,
  },
  {
    line: "deno run -NWE -R=/srv --deny-read=/tmp m.ts",
    expect: `-N -W -E -R=/srv --deny-read=/tmp --no-prompt ${READ}`,
  },
  { line: "deno run -NWE -R=/srv --deny-read m.ts", expect: `-N -W -E -R=/srv --deny-read --no-prompt ${READ}` },
  {
    line: `deno run -NWE -R=/srv --deny-read=${P} m.ts`,
    expect: /--deny-read=\/tmp\/prefork-abc\/worker\.sock would deny it read access/,
  },
  {
    line: "deno run -NWER --deny-read=/tmp m.ts",
    granted: except(P),
    expect: /--deny-read=\/tmp would deny it read access.*TMPDIR/,
  },
  {
    line: "deno run -A --deny-net m.ts",
    granted: except(`unix:${P}`),
    expect: /--deny-net would deny it net access to unix:\/tmp/,
  },
  { line: "deno run -A --deny-net=example.com m.ts", expect: "-A --deny-net=example.com --no-prompt" },
  {
    line: "deno run --deny-env=PREFORK_TOKEN m.ts",
    expect: /--deny-env=PREFORK_TOKEN would deny it env access to PREFORK_TOKEN: leave that out/,
  },
  {
    line: "deno run -E --ignore-env=PREFORK_PATH m.ts",
    granted: except("PREFORK_PATH"),
    expect: /--ignore-env=PREFORK_PATH would deny/,
  },
  { line: "deno run -A --ignore-read=/tmp m.ts", granted: except(P), expect: /--ignore-read=\/tmp would deny it read/ },
  // Permission sets.
  { line: "deno run -P m.ts", expect: "-P --no-prompt" },
  {
    line: "deno run -P=prod m.ts",
    granted: except(P),
    expect: /set "prod" does not .*"read": \["\/tmp"\], "write": \["\/tmp"\] to "permissions": \{ "prod"/,
  },
  {
    line: "deno run -Pprod m.ts",
    granted: nothing,
    expect: /set "prod" .*"net": true, "read": .*"env": \["PREFORK_CONTROL","PREFORK_TOKEN","PREFORK_PATH"\]/,
  },
  {
    line: "deno run --permission-set m.ts",
    granted: except(`unix:${P}`),
    expect: /set "default".* add "net": true to.*denoArgs/,
  },
  { line: "deno run -P -N=a.com m.ts", expect: `-P -N=a.com --no-prompt ${NET}` },
  { line: "deno run -P=a -P=b m.ts", granted: except("PREFORK_PATH"), expect: /set "b" .*"env": \["PREFORK_PATH"\]/ },
  // Flags that stay, with values in words of their own.
  {
    line: "deno run -A -c deno.json --import-map=i.json m.ts",
    expect: "-A -c deno.json --import-map=i.json --no-prompt",
  },
  { line: "deno run -AL debug -q --config x.json m.ts", expect: "-A -L debug -q --config x.json --no-prompt" },
  {
    line: "deno run -A --preload p.ts --require r.cjs --seed 7 m.ts",
    expect: "-A --preload p.ts --require r.cjs --seed 7 --no-prompt",
  },
  { line: "deno run -A --lock x.lock --frozen m.ts", expect: "-A --lock x.lock --frozen --no-prompt" },
  { line: "deno run -A --lock --cached-only m.ts", expect: "-A --lock --cached-only --no-prompt" },
  { line: "deno run -A --env-file --env-file=.env m.ts", expect: "-A --env-file --env-file=.env --no-prompt" },
  {
    line: "deno run -A --v8-flags=--expose-gc,--max-old-space-size=64 --unstable-net m.ts",
    expect: "-A --v8-flags=--expose-gc,--max-old-space-size=64 --unstable-net --no-prompt",
  },
  {
    line: "deno run -A --never-heard-of thing --no-check m.ts",
    expect: "-A --never-heard-of thing --no-check --no-prompt",
  },
  // Flags of the manager alone.
  { line: "deno run -A --watch --no-clear-screen m.ts", expect: "-A --no-prompt" },
  { line: "deno run --watch=a,b --watch-exclude=c -A m.ts", expect: "-A --no-prompt" },
  { line: "deno run --hmr -A m.ts", expect: "-A --no-prompt" },
  { line: "deno run --inspect -A m.ts", expect: "-A --no-prompt" },
  {
    line: "deno run --inspect-brk=0.0.0.0:1 --inspect-wait --inspect-publish-uid http -A m.ts",
    expect: "-A --no-prompt",
  },
  { line: "deno run -Ar m.ts", expect: "-A --no-prompt" },
  { line: "deno run -r=npm: --reload --check=all -A m.ts", expect: "-A --no-prompt" },
  {
    line: "deno run --coverage=cov --cpu-prof --cpu-prof-dir out --cpu-prof-interval 100 --cpu-prof-md -A m.ts",
    expect: "-A --no-prompt",
  },
  { line: "deno run --lock-write --tunnel -tA m.ts", expect: "-A --no-prompt" },
  // Where the flags end.
  { line: "deno run -A m.ts --watch -A --deny-net", args: "--watch -A --deny-net", expect: "-A --no-prompt" },
  { line: "deno run -A m.ts -- -R", args: "-- -R", expect: "-A --no-prompt" },
  { line: "deno run -A m.ts m.ts run", args: "m.ts run", expect: "-A --no-prompt" },
  { line: "deno -A m.ts x", args: "x", expect: "-A --no-prompt" },
  { line: "deno -q run -A m.ts", expect: "-q -A --no-prompt" },
  { line: "deno -L info -A m.ts run", args: "run", expect: "-L info -A --no-prompt" },
  { line: "/usr/bin/deno run -R -c run m.ts", granted: nothing, denoArgs: "-A", expect: "-c run -A --no-prompt" },
  { line: "deno watch -A m.ts", expect: "-A --no-prompt" },
  { line: "deno x jsr:@a/b", holdsAll: true, expect: "-A --no-prompt" },
  { line: "deno x -y -N jsr:@a/b", expect: `-N --no-prompt ${READ} ${WRITE} --allow-env=${ENV}` },
  // The user's own flags.
  {
    line: "deno run -A -c d.json m.ts",
    denoArgs: "-N",
    expect: `-c d.json -N --no-prompt ${READ} ${WRITE} --allow-env=${ENV}`,
  },
  { line: "deno run -A m.ts", denoArgs: "", expect: `--no-prompt ${LEAST}` },
  { line: "deno run -A --deny-net m.ts", denoArgs: "-A", granted: nothing, expect: "-A --no-prompt" },
  { line: "deno run -P m.ts", denoArgs: "-P=worker", granted: nothing, expect: "-P=worker --no-prompt" },
  { line: "deno run -A --config a.json m.ts", denoArgs: "-c b.json -A", expect: "-c b.json -A --no-prompt" },
  { line: "deno run -A m.ts", denoArgs: "-RWNE --deny-read=/tmp", expect: /--deny-read=\/tmp would deny it read/ },
  {
    line: "deno run -A m.ts",
    denoArgs: "-RWNE --ignore-env=PREFORK*",
    expect: /--ignore-env=PREFORK\* would deny it env/,
  },
  // Worker modules.
  { line: "deno run -A --ext ts m.ts", form: "module", expect: "-A --no-prompt" },
  {
    line: "deno test -A --filter x --no-check tests/ -- -R",
    args: "-R",
    form: "module",
    expect: "-A --no-check --no-prompt",
  },
  { line: "deno eval --unstable-net code", form: "module", holdsAll: true, expect: "--unstable-net -A --no-prompt" },
  { line: "deno serve -A --port 80 --parallel m.ts", form: "module", expect: "-A --no-prompt" },
  { line: "deno repl", form: "module", denoArgs: "-A", expect: "-A --no-prompt" },
  { line: "deno run -RWNE m.ts", form: "module", preload: "file:///lib/preload.ts", expect: "-R -W -N -E --no-prompt" },
  {
    line: "deno run -RWNE m.ts",
    form: "module",
    preload: "https://jsr.io/@prefork/prefork/0.1.0/src/preload.ts",
    expect: "-R -W -N -E --no-prompt",
  },
  {
    line: "deno run -RWNE m.ts",
    form: "module",
    preload: "http://localhost:81/p.ts",
    expect: `-R -W -N -E --no-prompt --allow-import=${IMPORTS},localhost:81`,
  },
  {
    line: "deno run -RWNE -I=a.com m.ts",
    form: "module",
    preload: "https://b.com/p.ts",
    expect: "-R -W -N -E -I=a.com --no-prompt --allow-import=b.com:443",
  },
  { line: "deno run -RWNEI m.ts", form: "module", preload: "https://b.com/p.ts", expect: "-R -W -N -E -I --no-prompt" },
];

function lineOf({ line, args = "" }: Case): DenoLine {
  const parsed = parseLine(line.split(" "), args === "" ? [] : args.split(" "));
  assert.ok(parsed);
  return parsed;
}

function flagsOf(each: Case): string {
  return denoWorkerFlags({
    line: lineOf(each),
    controlPath: P,
    form: each.form ?? "self",
    granted: each.granted ?? (() => true),
    holdsAll: each.holdsAll ?? false,
    ...(each.preload === undefined ? {} : { preload: each.preload }),
    ...(each.denoArgs === undefined ? {} : { denoArgs: each.denoArgs.split(" ").filter((word) => word !== "") }),
  }).join(" ");
}

for (const each of CASES) {
  const given = [
    each.form ?? "self",
    each.denoArgs === undefined ? "" : `denoArgs [${each.denoArgs}]`,
    each.preload ?? "",
  ];
  test(`worker flags: ${each.line} (${given.filter((text) => text !== "").join(", ")})`, () => {
    if (typeof each.expect === "string") assert.equal(flagsOf(each), each.expect);
    else assert.throws(() => flagsOf(each), each.expect);
  });
}

/** The flags of a manager, and those of the one that takes over from it. */
const MANAGERS: readonly Case[] = [
  { line: "deno run -A m.ts", expect: "-A --no-prompt" },
  { line: "deno -A m.ts --watch", args: "--watch", expect: "-A --no-prompt" },
  { line: "deno run -RWNE --inspect --reload m.ts", expect: "-R -W -N -E --no-prompt" },
  { line: "deno run -R=/srv -N m.ts", expect: "-R=/srv -N --no-prompt --allow-env=PREFORK_UPGRADE" },
  { line: "deno run -E=HOME m.ts", expect: "-E=HOME --no-prompt --allow-env=PREFORK_UPGRADE" },
  {
    line: "deno run --no-prompt --allow-env=PREFORK_UPGRADE m.ts",
    expect: "--no-prompt --allow-env=PREFORK_UPGRADE",
  },
  { line: "deno x jsr:@a/b", holdsAll: true, expect: "-A --no-prompt" },
  { line: "deno run -P m.ts", expect: "-P --no-prompt" },
  {
    line: "deno run -P m.ts",
    granted: nothing,
    expect:
      /^Error: The permission set "default" does not let a new manager be told .* add "env": \["PREFORK_UPGRADE"\] to .*deno.json\.$/,
  },
  {
    line: "deno run -A --deny-env=PREFORK_UPGRADE m.ts",
    granted: nothing,
    expect: /^Error: A new manager cannot be told what it takes over, for --deny-env=PREFORK_UPGRADE would deny it env/,
  },
];

for (const each of MANAGERS) {
  const flags = () =>
    denoManagerFlags({
      line: lineOf(each),
      granted: each.granted ?? (() => true),
      holdsAll: each.holdsAll ?? false,
    }).join(" ");
  test(`manager flags: ${each.line}${each.granted ? ", with less granted" : ""}`, () => {
    if (typeof each.expect === "string") assert.equal(flags(), each.expect);
    else assert.throws(flags, each.expect);
  });
}

test("the environment of a worker is what the least set names", () => {
  assert.equal(WORKER_ENV_NAMES.join(","), ENV);
});

test("a control path with a comma is refused where it must be listed", () => {
  assert.throws(
    () => denoWorkerFlags({ controlPath: "/tmp/a,b", form: "self" }),
    /no way to allow unix:\/tmp\/a,b, there is a comma in it: set TMPDIR/,
  );
  assert.deepEqual(denoWorkerFlags({ controlPath: "/tmp/a,b", form: "self", denoArgs: ["-A"] }), ["-A", "--no-prompt"]);
});

test("a command line that does not end in the program's arguments is not trusted", () => {
  assert.equal(parseLine(["deno", "run", "m.ts", "a"], ["b"]), undefined);
  assert.equal(parseLine(["deno"], ["a", "b"]), undefined);
});

test("arguments may be empty, have spaces, and look like flags", () => {
  const args = ["", "a b", "-A", ""];
  assert.deepEqual(parseLine(["deno", "run", "-R", "m.ts", ...args], args), {
    subcommand: "run",
    script: "m.ts",
    flags: parseFlags(["-R"]),
  });
});

const REFUSED: readonly (readonly [line: string, mainModule: string, message: RegExp])[] = [
  ["deno run -A -", "file:///d/$deno$stdin.mts", /from stdin cannot be run again .*: put it into a file/],
  ["deno eval code", "file:///d/$deno$eval.mts", /from eval cannot be run again/],
  ["deno repl", "file:///d/$deno$repl.mts", /from repl cannot be run again/],
  ["deno test -A a_test.ts", "file:///d/a_test.ts", /under deno test cannot .*startModule/],
  ["deno bench a.ts", "file:///d/a.ts", /under deno bench cannot/],
  ["deno serve -A m.ts", "file:///d/m.ts", /under deno serve cannot .* the same port: use deno run/],
  ["deno jupyter", "file:///d/x.ts", /under deno jupyter cannot/],
];

for (const [line, mainModule, message] of REFUSED) {
  test(`refused: ${line}`, () =>
    assert.throws(() => checkRepeatable(lineOf({ line, expect: "" }), mainModule), message));
}

test("programs in files can be run again, whatever is known of their command line", () => {
  for (const line of ["deno m.ts", "deno run m.ts", "deno watch m.ts", "deno x jsr:@a/b"]) {
    checkRepeatable(lineOf({ line, expect: "" }), "file:///d/m.ts");
  }
  checkRepeatable(undefined, "https://example.com/m.ts");
  assert.throws(() => checkRepeatable(undefined, "file:///d/$deno$stdin.mts"), /from stdin/);
});

describe("checkCompiled()", () => {
  const grant = { controlPath: "/tmp/p/worker.sock" };

  it("lets a compiled program be run again that may do what its workers need", () => {
    checkCompiled(grant, () => true);
    const held = ["net unix:/tmp/p/worker.sock", "read /tmp/p/worker.sock", "write /tmp/p/worker.sock"];
    checkCompiled(grant, (kind, value) => kind === "env" || held.includes(`${kind} ${value}`));
  });

  it("says what to compile it with where it may not", () => {
    assert.throws(
      () => checkCompiled(grant, (kind) => kind === "read"),
      /compile it with --allow-net --allow-write --allow-env\./,
    );
  });
});
