/**
 * Functions for the Gearman example. Each takes the bytes of a job and returns its result; one that throws fails the
 * job, and the client gets the message as a warning.
 *
 * @module
 */

/** Turns a text around. */
export function reverse(payload: Uint8Array): string {
  return [...new TextDecoder().decode(payload)].reverse().join("");
}

/** Counts the words of a text. */
export function countWords(payload: Uint8Array): string {
  return String(new TextDecoder().decode(payload).split(/\s+/).filter(Boolean).length);
}

/** Waits the seconds the job says: something to send signals to. */
export async function nap(payload: Uint8Array): Promise<string> {
  const seconds = Number(new TextDecoder().decode(payload));
  if (!(seconds >= 0 && seconds <= 3600)) throw new RangeError("nap takes a number of seconds from 0 to 3600");
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  return `slept ${seconds} s`;
}
