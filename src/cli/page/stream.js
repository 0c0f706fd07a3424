/** The stream of what a manager tells. Not by EventSource, which cannot send a token. */

const FIRST_PAUSE_MS = 500;
const LAST_PAUSE_MS = 8000;

/** Cuts the text of an event stream into the data of its events. */
export class EventReader {
  #rest = "";

  /**
   * @param {string} text What has come.
   * @returns {string[]} The data of each event that is complete now.
   */
  push(text) {
    const events = (this.#rest + text).split("\n\n");
    this.#rest = events.pop() ?? "";
    return events.flatMap((event) => {
      const data = event.split("\n").filter((line) => line.startsWith("data:")).map((line) =>
        line.slice(5).trimStart()
      );
      return data.length === 0 ? [] : [data.join("\n")];
    });
  }
}

/**
 * How long to wait before the next try, after so many that failed.
 *
 * @param {number} failures
 */
export function pauseAfter(failures) {
  return Math.min(LAST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.max(0, failures - 1));
}

/**
 * What a watcher does with the stream.
 *
 * @typedef {object} Watcher
 * @property {() => string | null} token What the manager is to be told.
 * @property {() => void} begin A stream begins, with all there is.
 * @property {(news: unknown) => void} take Something was told.
 * @property {() => Promise<void>} needToken The manager wants a token; resolves when there is one.
 * @property {(reason: string, pauseMs: number) => Promise<void>} lost There is no stream; resolves when to try again.
 */

/**
 * Watches a manager for as long as it is wanted, whatever becomes of it.
 *
 * @param {string} url
 * @param {Watcher} watcher
 * @param {AbortSignal} signal
 */
export async function watch(url, watcher, signal) {
  let failures = 0;
  while (!signal.aborted) {
    let reason = "the manager is gone";
    try {
      const token = watcher.token();
      const response = await fetch(url, {
        headers: token === null ? {} : { authorization: `Bearer ${token}` },
        cache: "no-store",
        signal,
      });
      if (response.status === 401) {
        await response.body?.cancel();
        await watcher.needToken();
        continue;
      }
      if (response.ok && response.body !== null) {
        watcher.begin();
        for await (const news of readEvents(response.body)) {
          failures = 0;
          watcher.take(news);
        }
      } else reason = (await response.text()).trim();
    } catch {
      // Nobody answers there, or nobody does any more.
    }
    if (signal.aborted) return;
    await watcher.lost(reason, pauseAfter(++failures));
  }
}

/**
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<unknown, void>}
 */
async function* readEvents(body) {
  const decoder = new TextDecoder();
  const events = new EventReader();
  const reader = body.getReader(); // not every browser iterates over a stream
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    for (const data of events.push(decoder.decode(read.value, { stream: true }))) yield JSON.parse(data);
  }
}
