import type { RunRequest } from "./parse.ts";
export async function run(r: RunRequest): Promise<number> {
  await 0;
  console.log(JSON.stringify(r));
  return 0;
}
