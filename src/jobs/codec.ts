/**
 * Values as text and bytes, as far as the structured clone algorithm knows them: what jobs are given, and what they give.
 *
 * @module
 */

import { DevalueError, parse, stringify } from "devalue";
import { show } from "../checks.ts";

/** A value on its way. */
export interface Encoded {
  /** One line, without its end. */
  readonly text: string;
  /** What stands in it as bytes, too much of it to be written as text. */
  readonly blobs: readonly Uint8Array<ArrayBuffer>[];
}

/** Marks a value that JSON can tell, which is ten times as fast. */
const AS_JSON = "j";
const AS_ALL = "d";

/** What is kept of an error. */
interface ToldError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly cause: unknown;
  /** Those that an `AggregateError` is made of, which has often no words of its own. */
  readonly errors?: readonly unknown[];
  /** What errors of the system are told apart by. */
  readonly code?: unknown;
}

/** What stands for bytes: which they are, and what kind of view they had. */
type ToldBytes = readonly [blob: number, kind: string];

/**
 * Encodes a value, as it is now.
 *
 * @throws {TypeError} If there is something in it that cannot be sent, such as a function.
 */
export function encode(value: unknown): Encoded {
  if (isJson(value, new Set())) return { text: AS_JSON + JSON.stringify(value), blobs: [] };
  const blobs: Uint8Array<ArrayBuffer>[] = [];
  try {
    const reduce = { Bytes: reduceBytes(blobs), Error: reduceError, Instance: reduceInstance };
    return { text: AS_ALL + stringify(value, reduce), blobs };
  } catch (error) {
    if (!(error instanceof DevalueError)) throw error;
    const place = error.path === "" ? "" : ` (at ${error.path})`;
    throw new TypeError(`Cannot send this value to another process: ${error.message}${place}`);
  }
}

/** Encodes what was thrown, whatever that is: as much of it as can be sent. */
export function encodeThrown(thrown: unknown): Encoded {
  try {
    return encode(thrown);
  } catch {
    return encode(thrown instanceof Error ? alone(thrown) : textOf(thrown));
  }
}

/** An error without what it holds. */
function alone({ name, message, stack }: Error): Error {
  return reviveError({ name: textOf(name), message: textOf(message), stack, cause: undefined });
}

/** What cannot be sent may not have words either. */
function textOf(value: unknown): string {
  try {
    return String(value);
  } catch {
    return show(value);
  }
}

/** The value. Bytes in it are those that were given, and nobody else's. */
export function decode({ text, blobs }: Encoded): unknown {
  if (text.startsWith(AS_JSON)) return JSON.parse(text.slice(1));
  const revive = { Bytes: reviveBytes(blobs), Error: reviveError, Instance: (properties: object) => properties };
  return parse(text.slice(1), revive);
}

/** Whether JSON tells all of a value. */
function isJson(value: unknown, seen: Set<object>): boolean {
  switch (typeof value) {
    case "string":
    case "boolean":
      return true;
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0);
    case "object":
      return value === null || areJson(value, seen);
    default:
      return false;
  }
}

/** Whether all parts of a value are, and none of them stands in it twice. */
function areJson(value: object, seen: Set<object>): boolean {
  if (seen.has(value)) return false;
  seen.add(value);
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      if (!(index in value) || !isJson(value[index], seen)) return false;
    }
    return true;
  }
  if (Object.getPrototypeOf(value) !== Object.prototype) return false;
  for (const key in value) if (!isJson(Reflect.get(value, key), seen)) return false;
  return true;
}

/** What tells the kind of a view, whatever its class is called. */
const tagOf = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag)?.get;

function reduceBytes(blobs: Uint8Array<ArrayBuffer>[]) {
  return (value: unknown): ToldBytes | false => {
    const isView = ArrayBuffer.isView(value);
    if (!isView && !(value instanceof ArrayBuffer)) return false;
    const bytes = isView ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : new Uint8Array(value);
    const kind: unknown = isView ? tagOf?.call(value) ?? "DataView" : "ArrayBuffer";
    return [blobs.push(bytes.slice()) - 1, String(kind)];
  };
}

const VIEWS: Readonly<Record<string, new (buffer: ArrayBuffer) => ArrayBufferView>> = {
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  ...("Float16Array" in globalThis ? { Float16Array } : {}),
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
  DataView,
};

function reviveBytes(blobs: readonly Uint8Array<ArrayBuffer>[]) {
  return ([blob, kind]: ToldBytes): ArrayBuffer | ArrayBufferView => {
    const bytes = blobs[blob];
    if (bytes === undefined) throw new SyntaxError(`sent a value whose bytes are missing: ${blob} of ${blobs.length}`);
    if (kind === "ArrayBuffer") return bytes.buffer;
    const view = Object.hasOwn(VIEWS, kind) ? VIEWS[kind] : undefined;
    if (view === undefined) throw new TypeError(`Cannot read a ${kind} here: this runtime has none`);
    return new view(bytes.buffer);
  };
}

function reduceError(value: unknown): ToldError | false {
  if (!(value instanceof Error)) return false;
  const { name, message, stack, cause } = value;
  const errors = value instanceof AggregateError ? { errors: value.errors } : {};
  const code = "code" in value && ["string", "number"].includes(typeof value.code) ? { code: value.code } : {};
  return { name, message, stack, cause, ...errors, ...code };
}

const ERRORS = { EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError } as const;

function isKnown(name: string): name is keyof typeof ERRORS {
  return Object.hasOwn(ERRORS, name);
}

function reviveError({ name, message, stack, cause, errors, code }: ToldError): Error {
  const kind = isKnown(name) ? ERRORS[name] : Error;
  const options = cause === undefined ? {} : { cause };
  const error = errors === undefined ? new kind(message, options) : new AggregateError(errors, message, options);
  if (error.name !== name) Object.defineProperty(error, "name", { value: name, configurable: true, writable: true });
  Object.defineProperty(error, "stack", { value: stack, configurable: true, writable: true });
  return code === undefined ? error : Object.assign(error, { code });
}

/** An object of a class arrives as a plain one, with the same properties, as by `structuredClone`. */
function reduceInstance(value: unknown): object | false {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  const isPlain = prototype === null || prototype === Object.prototype;
  if (isPlain || Object.prototype.toString.call(value) !== "[object Object]") return false;
  return { ...value };
}
