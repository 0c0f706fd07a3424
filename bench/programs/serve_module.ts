/** A program as `deno serve` and `prefork` run it. */
import { fetch } from "./answer.js";

export default { fetch };
