/** The plots of the page, which are looked at together: one moment of the hour is shown by all of them. */

import { formatAgo, formatMs, formatNumber, formatSize } from "./format.js";
import { areaPath, barPath, linePath, nearest, pointsOf, spanOf, topOf } from "./plot.js";
import { setText } from "./table.js";

/** @import { Sample } from "../../operator/history.ts" */

/**
 * @typedef {object} Kind
 * @property {string} id Of its figure.
 * @property {string} title
 * @property {"line" | "bars"} shape
 * @property {readonly ((sample: Sample) => number | null)[]} measures The first has an area below it.
 * @property {(value: number | null) => string} format
 * @property {(sample: Sample) => readonly string[]} tell The values, and what else belongs to them.
 * @property {number} unit Of the scale.
 * @property {number} least The top of the scale is not below so many units.
 */

/** @type {readonly Kind[]} */
const KINDS = [
  {
    id: "plot-requests",
    title: "Requests a second",
    shape: "line",
    measures: [(sample) => sample.requestsPerSecond],
    format: (value) => formatNumber(value ?? 0),
    tell: (sample) => [formatNumber(sample.requestsPerSecond)],
    unit: 1,
    least: 1,
  },
  {
    id: "plot-latency",
    title: "Latency",
    shape: "line",
    measures: [(sample) => sample.p50Ms, (sample) => sample.p99Ms],
    format: formatMs,
    tell: ({ p50Ms, p99Ms }) => p99Ms === null ? ["–"] : [`${formatMs(p50Ms)} p50`, `${formatMs(p99Ms)} p99`],
    unit: 1,
    least: 0,
  },
  {
    id: "plot-memory",
    title: "Memory",
    shape: "line",
    measures: [(sample) => sample.memoryBytes],
    format: formatSize,
    tell: (sample) => [formatSize(sample.memoryBytes)],
    unit: 2 ** 20,
    least: 1,
  },
  {
    id: "plot-restarts",
    title: "Restarts",
    shape: "bars",
    measures: [(sample) => sample.restarts],
    format: (value) => formatNumber(value ?? 0),
    tell: (sample) => [`${sample.restarts} · ${sample.ready} ready`],
    unit: 1,
    least: 2,
  },
];

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 136;
const ABOVE = 16;
const BELOW = HEIGHT - 18;

/** One plot with what it says in words. */
class Plot {
  #kind;
  #svg;
  #value = document.createElement("strong");

  /**
   * @param {Kind} kind
   * @param {(part: number) => void} point Told where in the plot, from 0 to 1, somebody points; NaN for nowhere.
   */
  constructor(kind, point) {
    this.#kind = kind;
    const figure = document.getElementById(kind.id);
    const caption = document.createElement("figcaption");
    const title = document.createElement("span");
    title.textContent = kind.title;
    caption.append(title, this.#value);
    if (kind.measures.length > 1) this.#value.className = "two";
    this.#svg = document.createElementNS(SVG, "svg");
    this.#svg.setAttribute("role", "img");
    figure?.replaceChildren(caption, this.#svg);
    this.#svg.addEventListener("pointermove", (event) => point(event.offsetX / this.#svg.clientWidth));
    this.#svg.addEventListener("pointerleave", () => point(NaN));
  }

  /**
   * @param {readonly Sample[]} samples
   * @param {Sample} shown
   */
  draw(samples, shown) {
    const { title, shape, measures, format, tell, unit, least } = this.#kind;
    const values = samples.flatMap((sample) => measures.map((measure) => measure(sample)));
    const most = values.reduce((/** @type {number | null} */ top, value) => {
      return value === null ? top : Math.max(top ?? 0, value);
    }, null);
    this.#value.replaceChildren(...tell(shown).map(spell));
    const span = spanOf(samples);
    const minutes = `${Math.round(span / 60_000)} min`;
    this.#svg.setAttribute(
      "aria-label",
      `${title} over the last ${minutes}: now ${tell(samples.at(-1) ?? shown).join(", ")}, highest ${format(most)}`,
    );
    const width = this.#svg.clientWidth;
    const top = topOf(values, unit, least);
    const frame = { left: 0, right: width, above: ABOVE, below: BELOW, span, top };
    const lines = measures.map((measure) => pointsOf(samples, measure, frame));
    const x = width - ((samples.at(-1)?.at ?? 0) - shown.at) / span * width;
    this.#svg.replaceChildren(
      ...[ABOVE, (ABOVE + BELOW) / 2, BELOW].map((y) => path(`M0 ${y}H${width}`, "grid")),
      ...shape === "bars" ? lines.map((points) => path(barPath(points, BELOW), "bars")) : [
        path(areaPath(lines[0] ?? [], BELOW), "area"),
        ...lines.map((points, at) => path(linePath(points), at === 0 ? "line" : "line second")).reverse(),
      ],
      ...shown === samples.at(-1) ? [] : [path(`M${x} ${ABOVE}V${BELOW}`, "cursor")],
      label(format(top), 0, ABOVE - 4, "start"),
      label(`highest ${format(most)}`, width, ABOVE - 4, "end"),
      label(`${minutes} ago`, 0, HEIGHT - 4, "start"),
      label("now", width, HEIGHT - 4, "end"),
    );
  }
}

/** All plots, and the slider that moves through the hour. */
export class Plots {
  #plots;
  #back;
  #moment;
  /** @type {readonly Sample[]} */
  #samples = [];
  /** When what is shown was; undefined for the latest. @type {number | undefined} */
  #at;

  /**
   * @param {HTMLInputElement} back
   * @param {HTMLElement} moment
   */
  constructor(back, moment) {
    this.#back = back;
    this.#moment = moment;
    this.#plots = KINDS.map((kind) => new Plot(kind, (part) => this.#point(part)));
    back.addEventListener("input", () => this.#look(this.#samples[back.valueAsNumber]?.at));
    new ResizeObserver(() => this.#draw()).observe(back);
  }

  /** @param {readonly Sample[]} samples Oldest first. */
  show(samples) {
    this.#samples = samples;
    this.#draw();
  }

  /** @param {number} part */
  #point(part) {
    const now = this.#samples.at(-1)?.at ?? 0;
    this.#look(Number.isNaN(part) ? undefined : now - (1 - part) * spanOf(this.#samples));
  }

  /** @param {number | undefined} at */
  #look(at) {
    this.#at = at;
    this.#draw();
  }

  #draw() {
    const last = this.#samples.length - 1;
    const index = this.#at === undefined ? last : nearest(this.#samples, this.#at);
    const [shown, latest] = [this.#samples[index], this.#samples[last]];
    if (shown === undefined || latest === undefined) return;
    if (index === last) this.#at = undefined; // and whatever comes next
    for (const plot of this.#plots) plot.draw(this.#samples, shown);
    const ago = formatAgo(latest.at - shown.at);
    setText(this.#moment, ago);
    this.#back.max = String(last);
    this.#back.value = String(index);
    this.#back.setAttribute("aria-valuetext", ago);
  }
}

/**
 * A value, its number large.
 *
 * @param {string} text
 */
function spell(text) {
  const [number = "", ...rest] = text.split(" ");
  const [value, unit] = [document.createElement("span"), document.createElement("small")];
  unit.textContent = rest.map((word) => ` ${word}`).join("");
  value.append(number, unit);
  return value;
}

/**
 * @param {string} d
 * @param {string} name
 */
function path(d, name) {
  const element = document.createElementNS(SVG, "path");
  element.setAttribute("d", d);
  element.setAttribute("class", name);
  return element;
}

/**
 * @param {string} text
 * @param {number} x
 * @param {number} y
 * @param {"start" | "end"} anchor
 */
function label(text, x, y, anchor) {
  const element = document.createElementNS(SVG, "text");
  element.textContent = text;
  element.setAttribute("x", String(x));
  element.setAttribute("y", String(y));
  element.setAttribute("text-anchor", anchor);
  return element;
}
