/**
 * Many timers on one of the runtime's. Each worker has some that hardly ever fire: as timers of the runtime they would be
 * most of what a respawn costs.
 *
 * @module
 */

import { Table } from "./table.ts";
import type { ProcessHost, Timer } from "./types.ts";

/** One timer; `place` is where it stands in the heap. */
interface Alarm<Input> {
  readonly key: string;
  readonly at: number;
  /** Of two that are due at the same time, the one set first goes first. */
  readonly order: number;
  readonly input: Input;
  place: number;
}

/** Gives inputs back at their times. Keeps no process alive. */
export class Alarms<Input> implements Disposable {
  readonly #host: ProcessHost;
  readonly #ring: (input: Input) => void;
  readonly #byKey = new Table<string, Alarm<Input>>();
  /** A binary heap, the earliest first. */
  readonly #heap: Alarm<Input>[] = [];
  #order = 0;
  #timer: Timer | undefined;
  #armedFor = Infinity;

  /** @param ring Takes each input when its time has come. */
  constructor(host: ProcessHost, ring: (input: Input) => void) {
    this.#host = host;
    this.#ring = ring;
  }

  /**
   * Gives `input` at the time `at`. An alarm of the same key is replaced. What is no time is now: it could stand nowhere
   * among the others, and none of those after it would ring.
   */
  set(key: string, at: number, input: Input): void {
    this.clear(key);
    if (Number.isNaN(at)) at = this.#host.now();
    const alarm = { key, at, input, order: this.#order++, place: this.#heap.length };
    this.#byKey.set(key, alarm);
    this.#heap.push(alarm);
    this.#rise(alarm);
    this.#arm();
  }

  /** Takes an alarm back. The runtime's timer stays: it finds nothing due, and costs less than a new one each time. */
  clear(key: string): void {
    const alarm = this.#byKey.get(key);
    if (alarm) this.#remove(alarm);
  }

  /** Takes all alarms back. */
  [Symbol.dispose](): void {
    for (const { key } of this.#heap) this.#byKey.delete(key);
    this.#heap.length = 0;
    this.#disarm();
  }

  #arm(): void {
    const first = this.#heap[0];
    if (first === undefined || first.at >= this.#armedFor) return;
    this.#disarm();
    this.#armedFor = first.at;
    this.#timer = this.#host.setTimer(Math.max(0, first.at - this.#host.now()), () => this.#wake());
    this.#timer.unref();
  }

  #disarm(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
    this.#armedFor = Infinity;
  }

  #wake(): void {
    this.#timer = undefined;
    this.#armedFor = Infinity;
    const now = this.#host.now();
    for (let first = this.#heap[0]; first !== undefined && first.at <= now; first = this.#heap[0]) {
      this.#remove(first);
      this.#ring(first.input);
    }
    this.#arm();
  }

  #remove(alarm: Alarm<Input>): void {
    this.#byKey.delete(alarm.key);
    const last = this.#heap.pop();
    if (last === undefined || last === alarm) return;
    this.#put(last, alarm.place);
    this.#rise(last);
    this.#sink(last);
  }

  #put(alarm: Alarm<Input>, place: number): void {
    alarm.place = place;
    this.#heap[place] = alarm;
  }

  #rise(alarm: Alarm<Input>): void {
    while (alarm.place > 0) {
      const above = this.#heap[(alarm.place - 1) >> 1];
      if (above === undefined || isBefore(above, alarm)) return;
      this.#swap(above, alarm);
    }
  }

  #sink(alarm: Alarm<Input>): void {
    while (true) {
      const left = this.#heap[2 * alarm.place + 1];
      const right = this.#heap[2 * alarm.place + 2];
      const below = left && right && isBefore(right, left) ? right : left;
      if (below === undefined || isBefore(alarm, below)) return;
      this.#swap(alarm, below);
    }
  }

  #swap(a: Alarm<Input>, b: Alarm<Input>): void {
    const place = a.place;
    this.#put(a, b.place);
    this.#put(b, place);
  }
}

function isBefore(a: Alarm<unknown>, b: Alarm<unknown>): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
