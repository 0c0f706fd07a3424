/** The geometry of a plot. Pure. */

/** @import { Sample } from "../../operator/history.ts" */

/** A place in a plot; `y` is null where there is nothing to show. @typedef {{ x: number, y: number | null }} Point */

const MINUTE = 60_000;
const SPANS = [5, 15, 30, 60].map((minutes) => minutes * MINUTE);

/** Samples further apart than this, in milliseconds, have nothing between them: the machine slept, or worse. */
const GAP_MS = 20_000;

/**
 * How much of the past a plot shows, in milliseconds: the least of a few that has room for all samples.
 *
 * @param {readonly Sample[]} samples
 */
export function spanOf(samples) {
  const all = (samples.at(-1)?.at ?? 0) - (samples.at(0)?.at ?? 0);
  return SPANS.find((span) => span >= all) ?? 60 * MINUTE;
}

/**
 * The top of a scale that begins with 0: a round number of units.
 *
 * @param {readonly (number | null)[]} values
 * @param {number} unit
 * @param {number} least The top may not be below so many units.
 */
export function topOf(values, unit = 1, least = 0) {
  const most = values.reduce((/** @type {number} */ top, value) => Math.max(top, value ?? 0), least * unit) / unit;
  if (most === 0) return unit;
  const power = 10 ** Math.floor(Math.log10(most));
  const factor = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((each) => each * power >= most * 0.999999) ?? 10;
  return factor * power * unit;
}

/**
 * The points of some value, from the past at the left to now at the right.
 *
 * @param {readonly Sample[]} samples
 * @param {(sample: Sample) => number | null} measure
 * @param {{ left: number, right: number, above: number, below: number, span: number, top: number }} frame
 * @returns {readonly Point[]}
 */
export function pointsOf(samples, measure, { left, right, above, below, span, top }) {
  const now = samples.at(-1)?.at ?? 0;
  return samples.flatMap((sample, index) => {
    const value = measure(sample);
    const x = right - (now - sample.at) / span * (right - left);
    const point = { x, y: value === null ? null : below - Math.min(1, value / top) * (below - above) };
    const isAfterGap = sample.at - (samples[index - 1]?.at ?? sample.at) > GAP_MS;
    return isAfterGap ? [{ x, y: null }, point] : [point];
  });
}

/**
 * The runs of points with nothing missing between them.
 *
 * @param {readonly Point[]} points
 */
function runsOf(points) {
  /** @type {{ x: number, y: number }[][]} */
  const runs = [[]];
  for (const { x, y } of points) {
    if (y === null) runs.push([]);
    else runs.at(-1)?.push({ x, y });
  }
  return runs.filter((run) => run.length > 0);
}

/** @param {readonly { x: number, y: number }[]} run */
function through(run) {
  return run.map(({ x, y }) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
}

/**
 * A line through all points; a dot where one stands alone.
 *
 * @param {readonly Point[]} points
 */
export function linePath(points) {
  return runsOf(points).map((run) => `M${through(run)}${run.length === 1 ? "h0" : ""}`).join("");
}

/**
 * What is below the line.
 *
 * @param {readonly Point[]} points
 * @param {number} below
 */
export function areaPath(points, below) {
  return runsOf(points).map((run) => {
    const [from, to] = [run.at(0)?.x ?? 0, run.at(-1)?.x ?? 0];
    return `M${from.toFixed(1)} ${below}L${through(run)}L${to.toFixed(1)} ${below}Z`;
  }).join("");
}

/**
 * A bar for each point that is not on the ground.
 *
 * @param {readonly Point[]} points
 * @param {number} below
 */
export function barPath(points, below) {
  return points.flatMap(({ x, y }) => y === null || y >= below ? [] : [`M${x.toFixed(1)} ${below}V${y.toFixed(1)}`])
    .join("");
}

/**
 * Where among the samples the one is that is nearest to a time.
 *
 * @param {readonly Sample[]} samples
 * @param {number} at
 */
export function nearest(samples, at) {
  let best = 0;
  samples.forEach((sample, index) => {
    if (Math.abs(sample.at - at) < Math.abs((samples[best]?.at ?? 0) - at)) best = index;
  });
  return best;
}
