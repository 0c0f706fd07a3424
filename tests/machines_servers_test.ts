/** Servers on many machines: three hosts behind HAProxy, which asks each whether it is ready, and upgrades of all of them. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { Manager } from "./support/fleet.ts";
import { hasNetworks, type Host, openNetwork } from "./support/network.ts";
import { otherRuntimeCommand, type Program, runtime, runtimeCommand, type TempDir, tempDir } from "./support/run.ts";

const worker = fileURLToPath(new URL("./fixtures/serve/loaded.ts", import.meta.url));
const clients = fileURLToPath(new URL("./fixtures/machines/clients.ts", import.meta.url));

const WORKERS = 2;
const [FRONT_PORT, PORT, PROBE_PORT] = [8000, 8080, 9090];
const KINDS = ["one shot", "keep-alive, 0 ms between", "keep-alive, 100 ms between", "post", "stream", "web socket"];

/**
 * HAProxy asks five times a second, and believes the first answer: `--drain-delay` is longer than that. On a machine that is
 * busy an answer may take its time. It tries nothing a second time.
 */
function configure(hosts: readonly Host[]): string {
  const servers = hosts.map(({ name, address }) => `  server ${name} ${address}:${PORT} check port ${PROBE_PORT}`);
  return `
defaults
  mode http
  timeout connect 5s
  timeout check 5s
  timeout client 30s
  timeout server 30s
  timeout tunnel 1h
frontend front
  bind 127.0.0.1:${FRONT_PORT}
  default_backend hosts
backend hosts
  balance roundrobin
  option httpchk GET /readyz
  retries 0
  default-server inter 200ms fall 1 rise 1
${servers.join("\n")}
`;
}

/** Three hosts, of which the second has workers on the other runtime; and one in front of them, with clients. */
class Site {
  readonly managers: readonly Manager[];
  readonly clients: Program;
  readonly #proxy: Program;

  private constructor(managers: readonly Manager[], clients: Program, proxy: Program) {
    this.managers = managers;
    this.clients = clients;
    this.#proxy = proxy;
  }

  static async open(stack: AsyncDisposableStack, dir: TempDir): Promise<Site> {
    const [front, ...hosts] = await openNetwork(stack, ["front", "host1", "host2", "host3"]);
    assert.ok(front !== undefined);
    const managers = hosts.map((host, index) => {
      const where = ["-l", `${host.address}:${PORT}`, "--status-listen", `${host.address}:${PROBE_PORT}`];
      const on = index === 1 ? ["--runtime", otherRuntimeCommand().command] : [];
      return new Manager(stack, host, WORKERS, [worker, ...where, ...on, "--drain-delay", "3s"], {});
    });
    for (const manager of managers) await manager.ready();
    const file = dir.file("haproxy.cfg");
    writeFileSync(file, configure(hosts));
    const proxy = stack.use(front.run("/usr/sbin/haproxy", ["-db", "-f", file]));
    const { command, args } = runtimeCommand();
    return new Site(managers, stack.use(front.run(command, [...args, clients, String(FRONT_PORT)])), proxy);
  }

  /** Waits until some worker of a manager, of those that came last, has answered a client through the proxy. */
  async served({ workers }: Manager): Promise<void> {
    const last = workers.slice(-WORKERS);
    await this.clients.waitForLine((line) => last.some((pid) => line === `answered by ${pid}`));
  }

  /** Each request of each kind of client was answered. */
  async expectNoLoss(): Promise<void> {
    this.clients.kill("SIGTERM");
    const tally = JSON.parse((await this.clients.waitForLine(/^tally /)).slice("tally ".length));
    const { sent, answered, failures, cutShort, heldUp } = tally;
    assert.deepEqual(heldUp, {}, "the proxy closes no connection of a client");
    const how = `${failures.length} requests failed of ${JSON.stringify(sent)}\n${this.#proxy.report()}`;
    assert.deepEqual(failures.slice(0, 10), [], how);
    for (const kind of KINDS) {
      assert.ok(answered[kind] > 10, `${kind}: ${answered[kind]} were answered`);
      assert.equal(sent[kind], answered[kind] + (kind === "web socket" ? cutShort : 0), kind);
    }
  }
}

describe(`servers on three hosts behind HAProxy, managers on ${runtime}`, () => {
  const options = { skip: !hasNetworks, timeout: 300_000 };

  it(
    "lose no request when each is upgraded in its turn, and none when each is stopped and begun again",
    options,
    async () => {
      await using stack = new AsyncDisposableStack();
      const site = await Site.open(stack, stack.use(await tempDir()));
      for (const manager of site.managers) await site.served(manager);
      for (const manager of site.managers) {
        await manager.upgrade();
        await site.served(manager);
      }
      for (const manager of site.managers) {
        await manager.stop();
        await manager.restart();
        await site.served(manager);
      }
      await site.expectNoLoss();
      for (const manager of site.managers) await manager.stop();
    },
  );
});
