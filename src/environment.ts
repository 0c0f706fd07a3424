/**
 * The environment as the system has it.
 *
 * @module
 */

/** Reads the environment of a process as the system tells it: `NAME=value` each. */
export function readEnvironment(entries: readonly string[]): Readonly<Record<string, string>> {
  const named = entries.filter((entry) => entry.indexOf("=") > 0);
  return Object.fromEntries(named.map((entry) => {
    const end = entry.indexOf("=");
    return [entry.slice(0, end), entry.slice(end + 1)];
  }));
}
