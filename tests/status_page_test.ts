/** The status page, in a real browser. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { EventReader } from "../src/cli/page/stream.js";
import type { Sample } from "../src/operator/history.ts";
import type { StatusReport } from "../src/operator/report.ts";
import { freePort } from "./support/free_port.ts";
import { hasBrowser, SLOW_MS, startBrowser, type TestBrowser, type TestPage } from "./support/browser.ts";
import { Client } from "./support/client.ts";
import { keepAlive, load } from "./support/load.ts";
import { start } from "./support/operator.ts";
import { type Program, runtime, signalProcess, tempDir, waitFor } from "./support/run.ts";

const loaded = fileURLToPath(new URL("./fixtures/serve/loaded.ts", import.meta.url));
const options = { timeout: 4 * SLOW_MS };

interface Watched extends AsyncDisposable {
  readonly program: Program;
  readonly status: string;
  readonly port: number;
}

async function watched(...args: readonly string[]): Promise<Watched> {
  const program = start([loaded, "--name", "shop", "-l", "127.0.0.1:0", "-w", "2", "--status-listen", "0", ...args]);
  const line = await program.waitForErrorLine("tells its status at ");
  const listens = await program.waitForErrorLine("listens on ");
  await program.waitForErrorLine(/ is ready$/, { count: 2 });
  return {
    program,
    status: /http:\S+/.exec(line)?.[0] ?? "",
    port: Number(/:(\d+)$/.exec(listens)?.[1]),
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

async function statusAt(url: string): Promise<StatusReport> {
  const response = await fetch(`${url}status.json`);
  return await response.json();
}

/** What is told of the past to whoever begins to watch. */
async function samplesAt(url: string): Promise<readonly Sample[]> {
  const { body } = await fetch(`${url}events`);
  const events = new EventReader();
  for await (const text of body?.pipeThrough(new TextDecoderStream()) ?? []) {
    const [first] = events.push(text);
    if (first !== undefined) return JSON.parse(first).samples;
  }
  return assert.fail("nothing was told");
}

/** The workers as the table has them: the texts of a row by the classes of its cells. */
async function rowsOf(page: TestPage): Promise<readonly Readonly<Record<string, string>>[]> {
  return await page.page.$$eval(
    "#workers tbody tr",
    (rows) =>
      rows.map((row) =>
        Object.fromEntries(
          [...row.children].map((cell) => [cell.className.replace("number ", ""), cell.textContent ?? ""]),
        )
      ),
  );
}

/** A browser logs each answer that is no success, and each connection that is refused, itself. */
function assertWell({ problems }: TestPage, isLost = false): void {
  assert.deepEqual(problems.filter((text) => !(isLost && text.startsWith("Failed to load resource"))), []);
}

describe(`the status page on ${runtime}`, { skip: !hasBrowser && "needs chromium" }, () => {
  let browser: TestBrowser;
  before(async () => void (browser = await startBrowser()), { timeout: SLOW_MS });
  after(async () => await browser?.[Symbol.asyncDispose](), { timeout: SLOW_MS });

  it("shows what status.json tells, and what becomes of a worker that is killed", options, async () => {
    await using pool = await watched();
    await using clients = load({ port: pool.port }, [keepAlive(5)]);
    await using page = await browser.open(pool.status);
    await waitFor(() => Object.values(clients.tally.answered).some((count) => count > 50), { what: "answers" });
    await clients.stop();
    const { name, workers, requests, pid } = await statusAt(pool.status);
    await page.shows("#workers-note", new RegExp(`2 of 2 ready .* ${requests} requests . 0 ended`));
    assert.equal(await page.text("h1"), name);
    assert.match(await page.text("#facts"), new RegExp(`loaded.ts . 127.0.0.1:${pool.port} . .* process ${pid} `));
    assert.equal(await page.page.title(), "shop: running");
    const rows = await rowsOf(page);
    assert.deepEqual(
      rows.map((row) => [row["slot"], row["pid"], row["state"], row["generation"], row["requests"], row["restarts"]]),
      workers.map(({ slot, pid, state, generation, requests, restarts }) =>
        [slot, pid, state, generation, requests, restarts].map(String)
      ),
    );
    for (const row of rows.filter((row) => row["requests"] !== "0")) assert.match(row["p99"] ?? "", /^[\d.]+ m?s$/);
    const victim = workers[1]?.pid ?? 0;
    signalProcess(victim, "SIGKILL");
    await page.shows("#events", new RegExp(`worker=1 gen=1 pid=${victim} was killed by SIGKILL`));
    await page.shows("#workers tbody tr:last-child .restarts", /^1$/);
    const [kept, next] = await rowsOf(page);
    assert.equal(kept?.["pid"], String(workers[0]?.pid));
    assert.notEqual(next?.["pid"], String(victim));
    assert.match(next?.["last text"] ?? "", /was killed by SIGKILL/);
    assertWell(page);
  });

  it("moves its plots under load, and looks back", options, async () => {
    await using pool = await watched();
    using watcher = new Client({ port: Number(new URL(pool.status).port) });
    watcher.send("GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n");
    await using page = await browser.open(pool.status);
    await page.shows("#plot-requests strong", /^0$/);
    await using clients = load({ port: pool.port }, [keepAlive(1), keepAlive(1)]);
    await page.shows("#plot-requests strong", /^[\d,.]*[1-9][\d,.]*$/);
    await page.shows("#plot-latency strong", /^[\d.]+\s*m?s p50\s+[\d.]+\s*m?s p99$/);
    await clients.stop();
    assert.match(await page.text("#plot-memory strong"), /^[\d.]+\s*[MG]iB$/);
    assert.match(await page.text("#plot-restarts strong"), /^0\s*. 2 ready$/);
    const lines = await page.page.$$eval("figure path.line", (all) => all.map((line) => line.getAttribute("d") ?? ""));
    assert.equal(lines.length, 4);
    for (const line of lines) assert.match(line, /^M[\d.]+ [\d.]+(h0|L)/);
    const label = await page.page.$eval("#plot-requests svg", (svg) => svg.getAttribute("aria-label") ?? "");
    assert.match(label, /^Requests a second over the last 5 min: now [\d,.]+, highest [\d,.]+$/);
    await page.page.focus("#back");
    await page.page.keyboard.press("Home");
    await page.shows("#plot-requests strong", /^0$/);
    await page.shows("#moment", /^\d+s ago$/);
    await page.page.keyboard.press("End");
    await page.shows("#moment", /^now$/);
    assert.deepEqual(page.requests.filter((path) => path === "/events"), ["/events"], "one stream all the time");
    assert.equal(watcher.ended, false);
    assertWell(page);
  });

  it("is for those who know the token, and says when one is wrong", options, async () => {
    await using dir = await tempDir();
    writeFileSync(dir.file("token"), "s3cret\n", { mode: 0o600 });
    await using pool = await watched("--status-token-file", dir.file("token"));
    await using page = await browser.open(pool.status);
    await page.shows("#token-form label", /asks for its token/);
    assert.equal(await page.text("#token-note"), "");
    assert.equal((await rowsOf(page)).length, 0);
    await page.page.type("#token", "guess\n");
    await page.shows("#token-note", /not its token/);
    await page.page.type("#token", "s3cret\n");
    await page.shows("#workers-note", /2 of 2 ready/);
    assert.equal(await page.text("#token-form"), "");
    await page.page.reload();
    await page.shows("#workers-note", /2 of 2 ready/);
    const kept = await page.page.evaluate("[location.href, document.cookie, localStorage.length]");
    assert.deepEqual(kept, [pool.status, "", 0]);
    await using other = await browser.open(pool.status);
    await other.shows("#token-form label", /asks for its token/);
    assertWell(page, true);
  });

  it("asks for nothing while nobody can see it", options, async () => {
    await using pool = await watched();
    await using page = await browser.open(pool.status);
    await page.shows("#workers-note", /2 of 2 ready/);
    const turn = (isHidden: boolean) =>
      page.page.evaluate(`Object.defineProperty(document, "hidden", { value: ${isHidden}, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"))`);
    await turn(true);
    await waitFor(() => page.broken.includes("/events"), { what: "the stream to end" });
    signalProcess((await statusAt(pool.status)).workers[0]?.pid ?? 0, "SIGKILL");
    await pool.program.waitForErrorLine("was killed by SIGKILL");
    assert.doesNotMatch(await page.text("#events"), /SIGKILL/);
    await turn(false);
    await page.shows("#events", /was killed by SIGKILL/);
    assertWell(page);
  });

  it("outlives its manager, and shows the next one", options, async () => {
    const first = await watched();
    await using page = await browser.open(first.status);
    {
      await using _ = first;
      await page.shows("#workers-note", /2 of 2 ready/);
      first.program.kill("SIGTERM");
      assert.deepEqual(await first.program.waitForEnd(), { code: 0, signal: null }, first.program.report());
    }
    await page.shows("#connection", /^Not connected: the manager is gone. Next try in \d s.$/);
    assert.equal(await page.text("#state"), "not connected");
    const { port } = new URL(first.status);
    await using second = await watched("--status-listen", port);
    await page.shows("#facts", new RegExp(`process ${second.program.pid} `));
    await page.shows("#state", /^running$/);
    assert.equal(await page.text("#connection"), "");
    const pids = (await statusAt(second.status)).workers.map(({ pid }) => String(pid));
    assert.deepEqual((await rowsOf(page)).map((row) => row["pid"]), pids);
    assertWell(page, true);
  });

  it("goes with an upgrade to the new manager", options, async () => {
    const port = await freePort();
    await using pool = await watched("--status-listen", String(port));
    await using page = await browser.open(pool.status);
    await page.shows("#facts", new RegExp(`process ${pool.program.pid} `));
    await page.shows("#plot-memory strong", /iB$/);
    const [oldest] = await samplesAt(pool.status);
    const [served] = (await statusAt(pool.status)).workers;
    pool.program.kill("SIGUSR2");
    assert.deepEqual(await pool.program.status, { code: 0, signal: null }, pool.program.report());
    await page.shows("#events", new RegExp(`took over from the manager pid=${pool.program.pid}`));
    const { pid } = await statusAt(pool.status);
    await page.shows("#facts", new RegExp(`process ${pid} `));
    await page.shows("#events", new RegExp(`worker=0 gen=1 pid=${served?.pid} is ready`));
    const samples = await samplesAt(pool.status);
    const { uptimeMs } = await statusAt(pool.status);
    assert.equal(samples[0]?.memoryBytes, oldest?.memoryBytes);
    assert.ok((samples[0]?.at ?? 0) < uptimeMs, "it was before this manager");
    assertWell(page, true);
    signalProcess(pid, "SIGTERM");
    await waitFor(() => pool.program.processes().length === 0, { what: "everybody to be gone" });
  });

  it("can be read on a phone, in the dark, and with a screen reader", options, async () => {
    await using pool = await watched();
    await using page = await browser.open(pool.status);
    await page.page.setViewport({ width: 360, height: 740, isMobile: true, hasTouch: true }); // which loads it anew
    await page.shows("#workers-note", /2 of 2 ready/);
    await page.shows("#plot-memory strong", /iB$/);
    assert.deepEqual(await page.page.evaluate("[document.documentElement.scrollWidth, innerWidth]"), [360, 360]);
    const light = await page.page.evaluate("getComputedStyle(document.documentElement).backgroundColor");
    await page.page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "dark" }]);
    const dark = await page.page.evaluate("getComputedStyle(document.documentElement).backgroundColor");
    assert.deepEqual([light, dark], ["rgb(244, 245, 247)", "rgb(14, 18, 23)"]);
    const client = await page.page.createCDPSession();
    const { nodes } = await client.send("Accessibility.getFullAXTree");
    const named = nodes.filter(({ ignored }) => !ignored)
      .map(({ role, name }) => `${role?.value} ${name?.value ?? ""}`.trim());
    const expected = [
      "heading shop",
      "region The last hour",
      "region Workers",
      "table Workers",
      "columnheader Slot",
      "columnheader State",
      "rowheader 0",
      "rowheader 1",
      "cell ready",
      "region Events",
      "list",
      "slider Look back",
      "status",
      "main",
    ];
    assert.deepEqual(expected.filter((each) => !named.includes(each)), [], named.join("\n"));
    assert.equal(
      named.filter((each) => /^image (Requests a second|Latency|Memory|Restarts) over the last/.test(each)).length,
      4,
    );
    assertWell(page);
  });
});
