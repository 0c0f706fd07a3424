/**
 * What the command line asks of Bun. Its twin is `deno_cli.ts`.
 *
 * @module
 */

import type { AppendedFile, CommandLineHost, LockedFile, OutputStream } from "../src/cli/host.ts";
import type { Libc } from "../src/libc.ts";
import type { BunSink } from "./bun_api.ts";
import { withSwallowedDashes } from "./bun_cmdline.ts";

interface BunFile {
  writer(): Omit<BunSink, "write"> & { write(bytes: Uint8Array): number | Promise<number> };
}

interface FileHandle {
  chmod(mode: number): Promise<void>;
  write(bytes: Uint8Array): Promise<{ readonly bytesWritten: number }>;
  close(): Promise<void>;
}

interface FileSystem {
  openSync(path: string, flags: number, mode: number): number;
  closeSync(descriptor: number): void;
  ftruncateSync(descriptor: number, length: number): void;
  writeSync(descriptor: number, text: string, position: number): number;
  fstatSync(descriptor: number): { readonly ino: number; isFIFO(): boolean; isSocket(): boolean };
  write(
    descriptor: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    position: null,
    done: (error: Error | null, written: number) => void,
  ): void;
  readonly promises: { open(path: string, flags: string, mode: number): Promise<FileHandle> };
}

declare const Bun: { readonly version: string; readonly stdout: BunFile; readonly stderr: BunFile };
declare const process: {
  readonly argv: readonly string[];
  cwd(): string;
  getBuiltinModule(name: "node:fs"): FileSystem;
  getBuiltinModule(name: "node:tty"): { isatty(descriptor: number): boolean };
};

const DESCRIPTORS = { stdin: 0, stdout: 1, stderr: 2 } as const;

/** The {@linkcode CommandLineHost} of Bun. */
export const bunCommandLine: CommandLineHost = {
  get args(): readonly string[] {
    return withSwallowedDashes(process.argv.slice(2));
  },
  version: `bun ${Bun.version}`,
  cwd: () => process.cwd(),
  isTerminal: (stream) => process.getBuiltinModule("node:tty").isatty(DESCRIPTORS[stream]),
  write: (stream, bytes) => (writers[stream] ??= writerOf(stream))(bytes),
  append,
  lock,
};

async function append(path: string, mode: number): Promise<AppendedFile> {
  const { open } = process.getBuiltinModule("node:fs").promises;
  const made = await open(path, "ax", mode).catch(() => undefined);
  await made?.chmod(mode);
  const file = made ?? await open(path, "a", mode);
  return {
    write: async (bytes) => (await file.write(bytes)).bytesWritten,
    close: () => file.close(),
  };
}

const O_RDWR_CREAT_CLOEXEC = 0o2 | 0o100 | 0o2000000;
const LOCK_EX_NB = 2 | 4;

function lock(path: string, openLibc: () => Libc): LockedFile | undefined {
  const files = process.getBuiltinModule("node:fs");
  const descriptor = files.openSync(path, O_RDWR_CREAT_CLOEXEC, 0o644);
  if (openLibc().flock(descriptor, LOCK_EX_NB) < 0) {
    files.closeSync(descriptor);
    return undefined;
  }
  return {
    inode: files.fstatSync(descriptor).ino,
    replace(text) {
      files.writeSync(descriptor, text, 0);
      files.ftruncateSync(descriptor, text.length);
    },
    release: () => files.closeSync(descriptor),
  };
}

type Writer = (bytes: Uint8Array) => Promise<number>;

const writers: Partial<Record<OutputStream, Writer>> = {};

/**
 * A sink of Bun waits for a full pipe without holding a thread, but waits for a full terminal on the main thread, and
 * counts a file's offset on its own. Those two go through the thread pool.
 */
function writerOf(stream: OutputStream): Writer {
  const kind = process.getBuiltinModule("node:fs").fstatSync(DESCRIPTORS[stream]);
  if (!kind.isFIFO() && !kind.isSocket()) return (bytes) => writeInTurn(DESCRIPTORS[stream], bytes);
  const sink = Bun[stream].writer();
  return async (bytes) => {
    await sink.write(bytes);
    await sink.flush();
    return bytes.length;
  };
}

let lastWrite: Promise<unknown> = Promise.resolve();

/** One at a time for both streams: the pool has as many threads as there are CPUs, and a full terminal keeps one. */
function writeInTurn(descriptor: number, bytes: Uint8Array): Promise<number> {
  const { write } = process.getBuiltinModule("node:fs");
  const written = lastWrite.then(() =>
    new Promise<number>((resolve, reject) => {
      const done = (error: Error | null, length: number): void => error ? reject(error) : resolve(length);
      write(descriptor, bytes, 0, bytes.length, null, done);
    })
  );
  lastWrite = written.catch(() => {});
  return written;
}
