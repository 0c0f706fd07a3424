/** Numbers for people. Pure. */

const STEPS = /** @type {const} */ ([[86_400_000, "d"], [3_600_000, "h"], [60_000, "m"], [1000, "s"]]);

/**
 * The two largest units of a time: `3d 4h`, `5m 2s`, `7s`.
 *
 * @param {number} ms
 */
export function formatTime(ms) {
  let rest = Math.max(0, ms);
  const parts = STEPS.map(([unit, name]) => {
    const count = Math.floor(rest / unit);
    rest -= count * unit;
    return { count, name };
  });
  const first = parts.findIndex(({ count }) => count > 0);
  if (first < 0) return "0s";
  return parts.slice(first, first + 2).filter(({ count }) => count > 0).map(({ count, name }) => `${count}${name}`)
    .join(" ");
}

/**
 * A number of three digits, or of all those before the point: `0.25`, `12.3`, `1,234`.
 *
 * @param {number} value
 */
export function formatNumber(value) {
  const digits = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toLocaleString("en", { maximumFractionDigits: Math.min(digits, 2) });
}

/**
 * Milliseconds, or seconds where these are many; `–` if there are none.
 *
 * @param {number | null} ms
 */
export function formatMs(ms) {
  if (ms === null) return "–";
  return ms < 1000 ? `${formatNumber(ms)} ms` : `${formatNumber(ms / 1000)} s`;
}

/**
 * Bytes, in MiB or GiB.
 *
 * @param {number | null} bytes
 */
export function formatSize(bytes) {
  if (bytes === null) return "–";
  return bytes < 2 ** 30 ? `${formatNumber(bytes / 2 ** 20)} MiB` : `${formatNumber(bytes / 2 ** 30)} GiB`;
}

/**
 * How long ago something was.
 *
 * @param {number} ms
 */
export function formatAgo(ms) {
  return ms < 1000 ? "now" : `${formatTime(ms)} ago`;
}
