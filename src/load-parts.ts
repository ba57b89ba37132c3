/**
 * The first file of the bundle: loads its parts, each with what V8 compiled of it when the bundle was made (scripts/keep-compiled.ts).
 * What was kept is used only if it was kept of this very text and is whole; V8 itself refuses what another version or other flags made.
 * Without it a part is compiled as it runs.
 */
const { createHash } = process.getBuiltinModule('node:crypto');
const { readFileSync } = process.getBuiltinModule('node:fs');
const { createRequire } = process.getBuiltinModule('node:module');
const path = process.getBuiltinModule('node:path');
const vm = process.getBuiltinModule('node:vm');

const DIGEST_BYTES = 32;
const HEAD = '(function (exports, require, module) {';

interface Part {
  readonly exports: unknown;
}

type Run = (exports: unknown, require: (name: string) => unknown, part: Part) => void;

const parts = new Map<string, Part>();

function load(name: string): unknown {
  const known = parts.get(name);
  if (known) return known.exports;
  const file = path.join(import.meta.dirname, name);
  const run = compile(file).runInThisContext() as Run;
  const part: Part = { exports: {} };
  parts.set(name, part);
  const packages = createRequire(file);
  const require = (wanted: string): unknown =>
    wanted.startsWith('./') ? load(wanted.slice('./'.length)) : packages(wanted);
  run(part.exports, require, part);
  return part.exports;
}

/** What was read for it is garbage before the part runs, so that it does not outlive a young collection. */
function compile(file: string): InstanceType<typeof vm.Script> {
  const text = readFileSync(file);
  const kept = readKept(`${file}.compiled`, text);
  return new vm.Script(`${HEAD}${text.toString()}\n})`, {
    filename: file,
    columnOffset: -HEAD.length,
    ...(kept ? { cachedData: kept } : {}),
  });
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
