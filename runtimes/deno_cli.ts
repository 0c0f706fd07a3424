/**
 * What the command line asks of Deno. Its twin is `bun_cli.ts`.
 *
 * @module
 */

import type { AppendedFile, CommandLineHost, LockedFile } from "../src/cli/host.ts";

/** The {@linkcode CommandLineHost} of Deno. */
export const denoCommandLine: CommandLineHost = {
  args: Deno.args,
  version: `deno ${Deno.version.deno}`,
  cwd: () => Deno.cwd(),
  isTerminal: (stream) => Deno[stream].isTerminal(),
  // Runs on a thread of its own. `node:fs` and `console` wait on the main thread for a pipe or terminal that is full.
  write: (stream, bytes) => Deno[stream].write(bytes),
  append,
  lock,
};

/** As for streams: `node:fs` would wait on the main thread for a disk that is slow. */
async function append(path: string, mode: number): Promise<AppendedFile> {
  const made = await Deno.open(path, { append: true, createNew: true, mode }).catch(() => undefined);
  if (made !== undefined) await Deno.chmod(path, mode);
  const file = made ?? await Deno.open(path, { append: true, create: true, mode });
  return {
    write: (bytes) => file.write(bytes),
    // deno-lint-ignore require-await
    close: async () => file.close(),
  };
}

function lock(path: string): LockedFile | undefined {
  const file = Deno.openSync(path, { read: true, write: true, create: true, mode: 0o644 });
  if (!file.tryLockSync(true)) {
    file.close();
    return undefined;
  }
  return {
    inode: file.statSync().ino ?? 0,
    replace(text) {
      const bytes = new TextEncoder().encode(text);
      file.seekSync(0, Deno.SeekMode.Start);
      file.writeSync(bytes);
      file.truncateSync(bytes.length);
    },
    release: () => file.close(),
  };
}
