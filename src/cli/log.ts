/**
 * The log of the command line, by LogTape: one line an event on standard error.
 *
 * @module
 */

import {
  configureSync,
  getAnsiColorFormatter,
  getJsonLinesFormatter,
  getLogger,
  getTextFormatter,
  type LogLevel,
  type LogRecord,
  type TextFormatter,
} from "@logtape/logtape";
import { levelOf } from "../event_hub.ts";
import { formatEvent, type PreforkEvent } from "../events.ts";
import type { RecordLine } from "./naming.ts";
import type { LogFormat } from "./values.ts";

/** Writes the log. */
export interface Log {
  /** What the command line has to say itself. */
  tell(level: LogLevel, message: string, properties?: Readonly<Record<string, unknown>>): void;
  /** What happened in the pool. */
  event(event: PreforkEvent): void;
  /** A line as `tell` would write it, newline included, for whoever writes it himself. */
  format(level: LogLevel, message: string, properties?: Readonly<Record<string, unknown>>): string;
  /** A record of a line that a worker printed, newline included. */
  readonly line: RecordLine;
}

/** How the log looks, and where its lines go. */
export interface LogOptions {
  readonly format: LogFormat;
  readonly color: boolean;
  /** Names the pool in each line. */
  readonly name: string | undefined;
  /** Begins each message: who speaks, where several write to one place. */
  readonly speaker: () => string;
  /** Takes a line, newline included; must not throw. */
  readonly write: (line: string) => void;
}

/** What would break a line, or a terminal. */
// deno-lint-ignore no-control-regex
const CONTROLS = /[\x00-\x1f\x7f]+/g;

/** Sets LogTape up for this process. */
export function openLog(options: LogOptions): Log {
  const { name, speaker, write } = options;
  const format = formatterOf(options);
  const category = name === undefined ? ["prefork"] : ["prefork", name];
  configureSync({
    reset: true,
    sinks: { line: (record) => write(format(record)) },
    loggers: [
      { category: "prefork", sinks: ["line"], lowestLevel: "debug" },
      { category: ["logtape", "meta"], sinks: ["line"], lowestLevel: "error" },
    ],
  });
  const logger = getLogger(category);
  // Not logger.info(): that would look for placeholders in what workers and errors say.
  const record = (level: LogLevel, message: string, properties = {}): LogRecord => {
    const line = `${speaker()}${message}`.replace(CONTROLS, " ");
    return { category, level, message: [line], rawMessage: line, timestamp: Date.now(), properties };
  };
  const tell: Log["tell"] = (...what) => logger.emit(record(...what));
  return {
    tell,
    format: (...what) => format(record(...what)),
    line: (message, { slot, pid }, stream) => {
      const properties = { event: "output", worker: slot, pid, stream };
      return format({ ...record("info", "", properties), message: [message], rawMessage: message });
    },
    event: (event) => tell(logLevel(event), formatEvent(event), propertiesOf(event)),
  };
}

function logLevel(event: PreforkEvent): LogLevel {
  const level = levelOf(event);
  return level === "warn" ? "warning" : level;
}

/** What a machine wants to know of an event: `{ event: "reap", worker: 0, gen: 1, pid: 42, status: {...} }`. */
export function propertiesOf(event: PreforkEvent): Record<string, unknown> {
  const { type, ...rest } = event;
  const properties: Record<string, unknown> = { event: type };
  for (const [key, value] of Object.entries(rest)) {
    if (key === "worker" && "worker" in event) {
      const { slot, generation, pid } = event.worker;
      Object.assign(properties, { worker: slot, gen: generation, pid });
    } else if (key === "by" && "by" in event) {
      const { generation, pid } = event.by;
      Object.assign(properties, { byGen: generation, byPid: pid });
    } else if (key === "slot") {
      properties["worker"] = value;
    } else {
      properties[key] = value instanceof Error ? value.message : value;
    }
  }
  return properties;
}

function formatterOf({ format, color }: LogOptions): TextFormatter {
  switch (format) {
    case "json":
      return getJsonLinesFormatter();
    case "journal":
      return ({ level, message }) => `<${PRIORITIES[level]}>${message.join("")}\n`;
    case "plain":
      return getTextFormatter({ ...LINE, timestamp: "rfc3339" });
    case "pretty":
      return color
        ? getAnsiColorFormatter({ ...LINE, timestamp: "time", timeZone: null, categoryColor: null })
        : getTextFormatter({ ...LINE, timestamp: "time", timeZone: null });
  }
}

/** As syslog(3) and sd-daemon(3) have them. */
const PRIORITIES: Readonly<Record<LogLevel, number>> = { trace: 7, debug: 7, info: 6, warning: 4, error: 3, fatal: 2 };

const LINE = {
  level: "full",
  category: (category: readonly string[]): string => category.join("."),
  value: (value: unknown): string => String(value),
} as const;
