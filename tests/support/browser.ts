/**
 * A real browser, and what went wrong in it.
 *
 * @module
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import process from "node:process";
import { type Browser, launch, type Page } from "puppeteer-core";
import { tempDir, waitFor } from "./run.ts";
import { testSuite } from "./suite.ts";

const CHROMIUM = "/usr/bin/chromium";

/** How long a browser may take on a machine that has other things to do. */
export const SLOW_MS = 60_000;

/** Whether there is one here. */
export const hasBrowser: boolean = existsSync(CHROMIUM);

/** Runs in the page. */
const REPORT_VIOLATIONS = `addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => {
  console.error("policy: " + violatedDirective + " " + blockedURI);
})`;

/** A browser that ends with its block, with all it has written. */
export interface TestBrowser extends AsyncDisposable {
  /** Opens a page that shares nothing with those before. */
  open(url: string): Promise<TestPage>;
}

/** Starts a browser without a window. */
export async function startBrowser(): Promise<TestBrowser> {
  const dir = await tempDir();
  const { path } = dir;
  const browser = await launch({
    executablePath: CHROMIUM,
    userDataDir: dir.file("profile"),
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
    env: { ...process.env, ...testSuite().env, HOME: path, XDG_CONFIG_HOME: path, XDG_CACHE_HOME: path, TMPDIR: path },
    timeout: SLOW_MS,
    protocolTimeout: SLOW_MS,
  });
  return {
    open: (url) => TestPage.open(browser, url),
    async [Symbol.asyncDispose]() {
      await browser.close();
      await dir[Symbol.asyncDispose]();
    },
  };
}

/** A page in a browser. */
export class TestPage implements AsyncDisposable {
  readonly page: Page;
  /** What it complained of, and what its policy did not let it do. */
  readonly problems: string[] = [];
  /** What it has asked for. */
  readonly requests: string[] = [];
  /** What of that it has given up, or was not answered. */
  readonly broken: string[] = [];

  private constructor(page: Page) {
    this.page = page;
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warn") this.problems.push(message.text());
    });
    page.on("request", (request) => this.requests.push(new URL(request.url()).pathname));
    page.on("requestfailed", (request) => this.broken.push(new URL(request.url()).pathname));
    page.on("pageerror", (error) => this.problems.push(String(error)));
  }

  static async open(browser: Browser, url: string): Promise<TestPage> {
    const context = await browser.createBrowserContext();
    const page = new TestPage(await context.newPage());
    page.page.setDefaultTimeout(SLOW_MS);
    await page.page.evaluateOnNewDocument(REPORT_VIOLATIONS);
    await page.page.goto(url);
    return page;
  }

  /** The text of the first element that fits, as it is seen; nothing if it is not. */
  async text(selector: string): Promise<string> {
    return await this.page.$eval(selector, (element) => {
      return "innerText" in element && element.checkVisibility() ? String(element.innerText).trim() : "";
    });
  }

  /** The texts of all elements that fit. */
  async texts(selector: string): Promise<readonly string[]> {
    return await this.page.$$eval(selector, (all) => all.map((element) => element.textContent ?? ""));
  }

  /** Waits until the text of an element fits. */
  async shows(selector: string, pattern: RegExp): Promise<string> {
    let text = "";
    return await waitFor(async () => pattern.test(text = await this.text(selector).catch(() => "")) && text, {
      what: `${selector} to show ${pattern}`,
      intervalMs: 50,
    }).catch((error) => assert.fail(`${error.message}; it shows ${JSON.stringify(text)}, ${this.problems.join("; ")}`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.page.browserContext().close();
  }
}
