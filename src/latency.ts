/**
 * How long requests take, as counts by duration: what workers tell, summed up, and read again. Pure.
 *
 * @module
 */

/** Each octave of time has so many buckets, so that what is read from them is within a tenth of the truth. */
const PER_OCTAVE = 4;

/** The first bucket ends at 2^-5 ms, the last but one at 2^16 ms, about a minute; the last has no end. */
const FIRST_OCTAVE = -5;
const LAST_OCTAVE = 16;

/** How many buckets there are. */
export const BUCKETS: number = (LAST_OCTAVE - FIRST_OCTAVE) * PER_OCTAVE + 2;

/** What is counted: `counts` has {@linkcode BUCKETS} numbers. */
export interface Durations {
  readonly sumMs: number;
  readonly counts: readonly number[];
}

/** So many requests took at most `leMs`, and longer than the bucket before; null has no end. */
export type LatencyBucket = readonly [leMs: number | null, count: number];

/** How long requests took. */
export interface Latency {
  /** How many requests that is told of; it may be a little more or less than were served. */
  readonly count: number;
  /** All of these together. */
  readonly sumMs: number;
  /** Half of them took no longer; null if there were none. */
  readonly p50Ms: number | null;
  /** 99 of 100 took no longer. */
  readonly p99Ms: number | null;
  /** Those that are not empty, shortest first. */
  readonly buckets: readonly LatencyBucket[];
}

/** Nothing counted yet. */
export const NO_DURATIONS: Durations = { sumMs: 0, counts: new Array<number>(BUCKETS).fill(0) };

/** The bucket that a duration belongs to. */
export function bucketOf(ms: number): number {
  if (!(ms > 2 ** FIRST_OCTAVE)) return 0;
  return Math.min(BUCKETS - 1, Math.ceil((Math.log2(ms) - FIRST_OCTAVE) * PER_OCTAVE));
}

/** The longest duration of a bucket. */
function boundOf(bucket: number): number {
  return bucket >= BUCKETS - 1 ? Infinity : 2 ** (FIRST_OCTAVE + bucket / PER_OCTAVE);
}

/** Both together. */
export function addDurations(a: Durations, b: Durations): Durations {
  return { sumMs: a.sumMs + b.sumMs, counts: a.counts.map((count, bucket) => count + (b.counts[bucket] ?? 0)) };
}

/** What can be told of them. */
export function latencyOf({ sumMs, counts }: Durations): Latency {
  const all = counts.map((count, bucket): LatencyBucket => [boundOf(bucket), count]);
  const buckets = all.filter(([, count]) => count > 0)
    .map(([leMs, count]): LatencyBucket => [leMs === Infinity ? null : round(leMs ?? 0), count]);
  return summarize(buckets, sumMs);
}

/** What has come between two looks; all there is of the later one if the earlier is not of the same pool. */
export function latencySince(earlier: Latency, later: Latency): Latency {
  const old = new Map(earlier.buckets);
  const buckets = later.buckets.map(([leMs, count]): LatencyBucket => [leMs, count - (old.get(leMs) ?? 0)]);
  if (later.count < earlier.count || buckets.some(([, count]) => count < 0)) return later;
  return summarize(buckets.filter(([, count]) => count > 0), later.sumMs - earlier.sumMs);
}

/** How many took at most so many milliseconds, for each power of two, as Prometheus wants it. */
export function cumulate({ buckets }: Latency): readonly { readonly leMs: number; readonly count: number }[] {
  return Array.from({ length: LAST_OCTAVE - FIRST_OCTAVE + 1 }, (_, octave) => {
    const leMs = 2 ** (FIRST_OCTAVE + octave);
    return { leMs, count: total(buckets.filter(([bound]) => bound !== null && bound <= leMs)) };
  });
}

function summarize(buckets: readonly LatencyBucket[], sumMs: number): Latency {
  const count = total(buckets);
  return {
    count,
    sumMs: round(sumMs),
    p50Ms: quantile(buckets, count, 0.5),
    p99Ms: quantile(buckets, count, 0.99),
    buckets,
  };
}

function total(buckets: readonly LatencyBucket[]): number {
  return buckets.reduce((sum, [, count]) => sum + count, 0);
}

/** Between the bounds of its bucket, as far as its rank is between those of the bucket. */
function quantile(buckets: readonly LatencyBucket[], count: number, part: number): number | null {
  let rank = part * count;
  for (const [leMs, size] of buckets) {
    if (leMs === null) return 2 ** LAST_OCTAVE;
    if (rank <= size) return round(leMs * 2 ** ((rank / size - 1) / PER_OCTAVE));
    rank -= size;
  }
  return null;
}

function round(ms: number): number {
  return Number(ms.toPrecision(6));
}
