/**
 * What a user could take instead, each as its own documentation advises. All serve what `programs/answer.js` does.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** A process of a peer. */
export interface PeerCommand {
  readonly words: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Where a peer is to serve, and from how many processes. */
export interface Place {
  readonly port: number;
  readonly workers: number;
  /** For files of its own. */
  readonly dir: string;
}

/** Something that serves. */
export interface Peer {
  readonly name: string;
  /** Which bare server it is compared with: that of its own runtime, where there is one. */
  readonly base: string;
  /** Whether no program of ours runs in it. */
  readonly isPlain?: boolean;
  /** How it is told to take a new build of its program, without an end of its service: where that can be. */
  readonly reload?: NodeJS.Signals | ((place: Place) => PeerCommand);
  commands(place: Place): readonly PeerCommand[];
}

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const program = (name: string): string => here(`../programs/${name}`);
const installed = (name: string): string => here(`../../node_modules/.bin/${name}`);
const PM2 = here("./node_modules/pm2");

const JS = [
  { title: "Deno", run: [installed("deno"), "run", "-A", "--unstable-net", "--no-check"] },
  { title: "Bun", run: [installed("bun"), "run"] },
] as const;

/** The peers of one runtime. */
function peersOf({ title, run }: typeof JS[number]): readonly Peer[] {
  const base = `${title}, bare`;
  const one = (name: string, file: string, ...more: readonly string[]): Peer => ({
    name: `${title}, ${name}`,
    base,
    commands: ({ port, workers }) => [{ words: [...run, program(file), `${port}`, `${workers}`, ...more] }],
  });
  return [
    {
      name: base,
      base,
      commands: ({ port, workers }) =>
        Array.from({ length: workers }, () => {
          return { words: [...run, program("serve_bare.ts"), `${port}`, ...workers > 1 ? ["shared"] : []] };
        }),
    },
    {
      name: `${title}, prefork`,
      base,
      commands: ({ port, workers }) => [{
        words: [
          ...run,
          here("../../mod.ts"),
          program("serve_module.ts"),
          "-l",
          `127.0.0.1:${port}`,
          "-w",
          `${workers}`,
        ],
      }],
      reload: "SIGHUP",
    },
    one("prefork, attach(node:http)", "serve_attach.ts"),
    one("prefork, relayed", "serve_pool.ts", "relay"),
    one("node:cluster", "serve_cluster.js"),
  ];
}

/** All of them. */
export const PEERS: readonly Peer[] = [
  ...JS.flatMap(peersOf),
  {
    name: "Deno, deno serve --parallel",
    base: "Deno, bare",
    commands: ({ port, workers }) => [{
      words: [
        ...[installed("deno"), "serve", "-A", "--no-check", "--parallel", "--host", "127.0.0.1", "--port", `${port}`],
        program("serve_module.ts"),
      ],
      env: { DENO_JOBS: `${workers}` },
    }],
  },
  {
    name: "Node.js, node:cluster",
    base: "Deno, bare",
    commands: ({ port, workers }) => [{ words: ["node", program("serve_cluster.js"), `${port}`, `${workers}`] }],
  },
  {
    name: "Node.js, PM2 in cluster mode",
    base: "Deno, bare",
    reload: ({ dir }) => ({ words: ["node", `${PM2}/bin/pm2`, "reload", "all"], env: { PM2_HOME: dir } }),
    commands: ({ port, workers, dir }) => [{
      words: ["node", `${PM2}/bin/pm2-runtime`, "start", program("serve_node.js"), "-i", `${workers}`],
      env: { PORT: `${port}`, PM2_HOME: dir },
    }],
  },
  {
    name: "Perl, Starlet (Parallel::Prefork) under Server::Starter",
    base: "Deno, bare",
    reload: "SIGHUP",
    commands: ({ port, workers }) => [{
      words: [
        ...["start_server", "--port", `127.0.0.1:${port}`, "--", "plackup", "-E", "deployment", "-s", "Starlet"],
        ...["--max-workers", `${workers}`, "--max-reqs-per-child", "1000000", "--max-keepalive-reqs", "100"],
        here("app.psgi"),
      ],
    }],
  },
  {
    name: "Python, gunicorn (gthread)",
    base: "Deno, bare",
    reload: "SIGHUP",
    commands: ({ port, workers }) => [{
      words: [
        ...["gunicorn", "-k", "gthread", "--workers", `${workers}`, "--threads", "4", "--log-level", "error"],
        ...["--chdir", here("."), "-b", `127.0.0.1:${port}`, "app:app"],
      ],
      env: { PYTHONDONTWRITEBYTECODE: "1" },
    }],
  },
  {
    name: "Ruby, puma in cluster mode",
    base: "Deno, bare",
    reload: "SIGUSR1",
    commands: ({ port, workers }) => [{
      words: [
        "puma",
        "-q",
        "-e",
        "production",
        "-C",
        here("puma.rb"),
        "-b",
        `tcp://127.0.0.1:${port}`,
        here("config.ru"),
      ],
      env: { BENCH_WORKERS: `${workers}` },
    }],
  },
  {
    name: "Ruby, unicorn",
    base: "Deno, bare",
    reload: "SIGHUP",
    commands: ({ port, workers }) => [{
      words: ["unicorn", "-E", "deployment", "-c", here("unicorn.rb"), "-l", `127.0.0.1:${port}`, here("config.ru")],
      env: { BENCH_WORKERS: `${workers}` },
    }],
  },
  {
    name: "C, nginx",
    base: "Deno, bare",
    reload: "SIGHUP",
    isPlain: true,
    commands: ({ port, workers, dir }) => {
      writeFileSync(`${dir}/nginx.conf`, nginxConf(port, workers, dir));
      return [{ words: ["nginx", "-p", dir, "-c", `${dir}/nginx.conf`] }];
    },
  },
];

/**
 * One of them, by its name.
 *
 * @throws {Error} If there is none.
 */
export function findPeer(name: string): Peer {
  const peer = PEERS.find((one) => one.name === name);
  if (peer === undefined) throw new Error(`Cannot measure '${name}': there is no such server`);
  return peer;
}

function nginxConf(port: number, workers: number, dir: string): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) =>
    `${name}_temp_path ${dir}/${name};`
  );
  return `daemon off; pid ${dir}/nginx.pid; error_log stderr crit; worker_processes ${workers};
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 1000000; ${temporary.join(" ")}
  server {
    listen 127.0.0.1:${port};
    location / { return 200 "hello"; }
    location /pid { return 200 "$pid"; }
    location /json { default_type application/json; alias ${process.env["BENCH_JSON"] ?? ""}; }
  }
}
`;
}

function versionOf(name: string): string {
  return JSON.parse(readFileSync(here(`./node_modules/${name}/package.json`), "utf8")).version;
}

/** What is compared, by its own words. */
export function versions(): readonly string[] {
  const ask = (command: string, ...args: readonly string[]): string => {
    const { stdout, stderr } = spawnSync(command, args, { encoding: "utf8" }); // some tell it as a failure
    return `${stdout}${stderr}`.trim().split("\n")[0]?.replace(/ \(release.*| Copyright.*/, "") ?? "";
  };
  return [
    ask(installed("deno"), "--version"),
    `bun ${ask(installed("bun"), "--version")}`,
    `node ${ask("node", "--version")}`,
    ...["pm2", "piscina"].map((name) => `${name} ${versionOf(name)}`),
    ask(
      "perl",
      "-MStarlet",
      "-MParallel::Prefork",
      "-MServer::Starter",
      "-MParallel::ForkManager",
      "-e",
      PERL_VERSIONS,
    ),
    ask("parallel", "--version"),
    ask("gunicorn", "--version"),
    ask("puma", "--version"),
    ask("unicorn", "--version"),
    ask("nginx", "-v"),
    ask("wrk", "--version"),
  ];
}

const PERL_VERSIONS = 'printf "perl %vd, Starlet $Starlet::VERSION, Parallel::Prefork $Parallel::Prefork::VERSION, ' +
  'Server::Starter $Server::Starter::VERSION, Parallel::ForkManager $Parallel::ForkManager::VERSION", $^V';
