/**
 * The first file of the bundle: loads its parts. A file holds one or several, and beside it is what V8 compiled of it when the bundle was
 * made (scripts/keep-compiled.ts). What was kept is used only if it was kept of this very text and is whole; V8 itself refuses what another
 * version or other flags made. Without it a part is compiled as it runs.
 */
const { createHash } = process.getBuiltinModule('node:crypto');
const { readFileSync } = process.getBuiltinModule('node:fs');
const { createRequire } = process.getBuiltinModule('node:module');
const path = process.getBuiltinModule('node:path');
const vm = process.getBuiltinModule('node:vm');

const DIGEST_BYTES = 32;

interface Part {
  readonly exports: unknown;
}

type Run = (exports: unknown, require: (name: string) => unknown, part: Part) => void;

/** By name. */
const parts = new Map<string, Part>();
/** Of files that were read. */
const runs = new Map<string, Run>();
let packages: NodeJS.Require | undefined;

function load(name: string): unknown {
  const known = parts.get(name);
  if (known) return known.exports;
  if (!runs.has(name)) read(path.join(import.meta.dirname, name));
  const part: Part = { exports: {} };
  parts.set(name, part);
  runs.get(name)!(part.exports, require, part);
  return part.exports;
}

function require(wanted: string): unknown {
  if (wanted.startsWith('./')) return load(wanted.slice('./'.length));
  packages ??= createRequire(import.meta.filename);
  return packages(wanted) as unknown;
}

function read(file: string): void {
  const held = compile(file).runInThisContext() as Readonly<Record<string, Run>>;
  for (const [name, run] of Object.entries(held)) runs.set(name, run);
}

/** What was read for it is garbage before the part runs, so that it does not outlive a young collection. */
function compile(file: string): InstanceType<typeof vm.Script> {
  const text = readFileSync(file);
  const kept = readKept(`${file}.compiled`, text);
  return new vm.Script(text.toString(), { filename: file, ...(kept ? { cachedData: kept } : {}) });
}

/** Undefined: there is none, it cannot be read, or it is of another text. */
function readKept(file: string, text: Buffer): Buffer | undefined {
  let kept: Buffer;
  try {
    kept = readFileSync(file);
  } catch {
    return undefined;
  }
  const code = kept.subarray(DIGEST_BYTES);
  const digest = createHash('sha256').update(text).update(code).digest();
  return digest.equals(kept.subarray(0, DIGEST_BYTES)) ? code : undefined;
}

load('program.cjs');
