/**
 * Values as lines of text, as far as the structured clone algorithm knows them: what jobs are given, and what they give.
 *
 * @module
 */

import { DevalueError, parse, stringify } from "devalue";

/** Marks a value that JSON can tell, which is ten times as fast. */
const AS_JSON = "j";
const AS_ALL = "d";

/** What is kept of an error. */
interface ToldError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly cause: unknown;
}

/**
 * A value as a line, without its end.
 *
 * @throws {TypeError} If there is something in it that cannot be sent, such as a function.
 */
export function encode(value: unknown): string {
  if (isJson(value, new Set())) return AS_JSON + JSON.stringify(value);
  try {
    return AS_ALL + stringify(value, { Error: reduceError, Instance: reduceInstance });
  } catch (error) {
    if (!(error instanceof DevalueError)) throw error;
    const place = error.path === "" ? "" : ` (at ${error.path})`;
    throw new TypeError(`Cannot send this value to another process: ${error.message}${place}`);
  }
}

/** The value of a line. */
export function decode(line: string): unknown {
  const text = line.slice(1);
  if (line.startsWith(AS_JSON)) return JSON.parse(text);
  return parse(text, { Error: reviveError, Instance: (properties: object) => properties });
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

function reduceError(value: unknown): ToldError | false {
  if (!(value instanceof Error)) return false;
  return { name: value.name, message: value.message, stack: value.stack, cause: value.cause };
}

const ERRORS = { EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };

function reviveError({ name, message, stack, cause }: ToldError): Error {
  const kind = Object.hasOwn(ERRORS, name) ? ERRORS[name as keyof typeof ERRORS] : Error;
  const error = new kind(message, cause === undefined ? {} : { cause });
  if (error.name !== name) Object.defineProperty(error, "name", { value: name, configurable: true, writable: true });
  Object.defineProperty(error, "stack", { value: stack, configurable: true, writable: true });
  return error;
}

/** An object of a class arrives as a plain one, with the same properties, as by `structuredClone`. */
function reduceInstance(value: unknown): object | false {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  const isPlain = prototype === null || prototype === Object.prototype;
  if (isPlain || Object.prototype.toString.call(value) !== "[object Object]") return false;
  return { ...value };
}
