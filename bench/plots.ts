/**
 * The plots of the report, made of the figures of the run itself.
 *
 * @module
 */
import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import type { Table } from "./table.ts";

/** Figures of one row, by their names. */
type Row = Readonly<Record<string, string | number | null>>;

/** The files of all plots that can be made of what was found. */
export async function plotsOf(found: readonly Table[]): Promise<readonly (readonly [file: string, svg: string])[]> {
  const plots: (readonly [string, string])[] = [];
  for (const mode of ["keep-alive", "once"]) {
    const rows = found.filter(({ key }) => key.startsWith(`throughput-hello-${mode}-`)).flatMap(({ figures = [] }) =>
      figures
    );
    if (rows.length > 0) plots.push([`throughput-${mode}.svg`, await svgOf(throughput(rows, mode))]);
  }
  const losses = found.find(({ key }) => key === "losses")?.figures ?? [];
  if (losses.length > 0) plots.push(["losses.svg", await svgOf(lossesOf(losses))]);
  return plots;
}

async function svgOf(spec: TopLevelSpec): Promise<string> {
  const view = new View(parse(compile(spec).spec), { renderer: "none" });
  const svg = await view.toSVG();
  view.finalize();
  return `${svg}\n`;
}

const CONFIG = {
  background: "#ffffff",
  font: "sans-serif",
  axis: { labelLimit: 400, titleFontWeight: "normal" },
  title: { anchor: "start", fontWeight: "normal" },
} as const;

/** Requests a second of each, as the ratio to the bare server, from the worst to the best round. */
function throughput(rows: readonly Row[], mode: string): TopLevelSpec {
  const x = { type: "quantitative" as const, scale: { domain: [0, 1.6], clamp: true } };
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    config: CONFIG,
    title: mode === "once" ? "A connection for each request" : "Keep-alive",
    data: { values: [...rows] },
    facet: {
      column: {
        field: "workers",
        title: null,
        header: { labelExpr: "datum.value + ' worker' + (datum.value > 1 ? 's' : '')" },
      },
    },
    spec: {
      width: 260,
      height: { step: 16 },
      encoding: { y: { field: "name", type: "nominal", title: null, sort: null } },
      layer: [
        {
          mark: "bar",
          encoding: {
            x: { field: "ratio", title: "requests a second, to the bare server", ...x },
            color: {
              condition: { test: "indexof(datum.name, 'prefork') >= 0", value: "#2f6f4f" },
              value: "#b8c0c8",
            },
          },
        },
        { mark: "rule", encoding: { x: { field: "low", ...x }, x2: { field: "high" }, color: { value: "#333333" } } },
      ],
    },
  };
}

/** Requests that are lost by what is done to a server. */
function lossesOf(rows: readonly Row[]): TopLevelSpec {
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    config: CONFIG,
    title: "Requests lost",
    data: { values: [...rows] },
    transform: [{ fold: ["reloads", "crashes", "broken"], as: ["by", "lost"] }, { filter: "datum.lost !== null" }],
    facet: {
      column: {
        field: "by",
        title: null,
        sort: ["reloads", "crashes", "broken"],
        header: {
          labelExpr: "{reloads: 'ten reloads', crashes: 'ten kills', broken: 'a broken build'}[datum.value]",
        },
      },
    },
    spec: {
      width: 160,
      height: { step: 16 },
      mark: "bar",
      encoding: {
        y: { field: "name", type: "nominal", title: null, sort: null },
        x: {
          field: "lost",
          type: "quantitative",
          title: "requests",
          scale: { type: "symlog" },
          axis: { values: [0, 1, 10, 100, 1000] },
        },
        color: { condition: { test: "indexof(datum.name, 'prefork') >= 0", value: "#2f6f4f" }, value: "#b8c0c8" },
      },
    },
  };
}
