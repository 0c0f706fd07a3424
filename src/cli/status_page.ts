/**
 * The status page as it is sent. What a browser runs is in files of its own, as they are, so that there is nothing to
 * build; they are imported as text, so that they are wherever this module is, and need no permission to be read. (tsc takes them for modules, and
 * the document for what Bun makes of one elsewhere.)
 *
 * @module
 */

// @ts-ignore: it is text
import format from "./page/format.js" with { type: "text" };
import icon from "./page/icon.svg" with { type: "text" };
import index from "./page/index.html" with { type: "text" };
// @ts-ignore: it is text
import page from "./page/page.js" with { type: "text" };
// @ts-ignore: it is text
import plots from "./page/plots.js" with { type: "text" };
// @ts-ignore: it is text
import plot from "./page/plot.js" with { type: "text" };
// @ts-ignore: it is text
import stream from "./page/stream.js" with { type: "text" };
import style from "./page/page.css" with { type: "text" };
// @ts-ignore: it is text
import table from "./page/table.js" with { type: "text" };

/** A file of the page. */
export interface PagePart {
  readonly type: string;
  readonly text: string;
}

/** What the page may do: load its own files, and ask its own server. */
export const PAGE_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
  "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
  "require-trusted-types-for 'script'; trusted-types 'none'";

const script = (text: string): PagePart => ({ type: "text/javascript; charset=utf-8", text });

/** The files by their path. */
export const PAGE: ReadonlyMap<string, PagePart> = new Map([
  ["/", { type: "text/html; charset=utf-8", text: String(index) }],
  ["/page.css", { type: "text/css; charset=utf-8", text: style }],
  ["/icon.svg", { type: "image/svg+xml", text: icon }],
  ["/page.js", script(page)],
  ["/plots.js", script(plots)],
  ["/plot.js", script(plot)],
  ["/stream.js", script(stream)],
  ["/table.js", script(table)],
  ["/format.js", script(format)],
]);
