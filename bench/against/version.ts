/** A version of the product as a bundle that runs: this tree, a folder, or a git ref unpacked into a temporary folder. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** This tree. */
export const ROOT = join(import.meta.dirname, '../..');

const MAX_ARCHIVE_BYTES = 2 ** 30;

export interface Version {
  /** As the tables call it. */
  readonly name: string;
  /** Folder with `src/`, `scripts/` and `node_modules/`. */
  readonly root: string;
  /** The program, bundled by that version's own scripts/build.ts. */
  readonly bundle: string;
}

/** What cannot be compared with; the message says why. */
export class NoVersion extends Error {}

/** `what`: a folder or a git ref. Everything made goes into `directory`, which the caller removes. Throws `NoVersion`. */
export function openVersion(what: string, directory: string): Version {
  const root = isFolder(what) ? resolve(what) : unpack(what, directory);
  return { name: what, root, bundle: bundle(root, join(directory, 'dist-other')) };
}

/** Whether `openVersion` would find it; what it finds need not run. */
export function isVersion(what: string): boolean {
  return isFolder(what) || commitOf(what) !== undefined;
}

export function thisVersion(directory: string): Version {
  return { name: 'this tree', root: ROOT, bundle: bundle(ROOT, join(directory, 'dist')) };
}

function isFolder(what: string): boolean {
  return existsSync(join(what, 'src/main.ts'));
}

function git(...args: readonly string[]) {
  return spawnSync('git', ['-C', ROOT, ...args], { maxBuffer: MAX_ARCHIVE_BYTES });
}

function commitOf(ref: string): string | undefined {
  const { status, stdout } = git('rev-parse', '--verify', '--quiet', '--end-of-options', `${ref}^{commit}`);
  return status === 0 ? stdout.toString().trim() : undefined;
}

/** The files of a commit, with the packages of this tree: they are the same, or the bundle does not come about. */
function unpack(ref: string, directory: string): string {
  const commit = commitOf(ref);
  if (commit === undefined)
    throw new NoVersion(`${JSON.stringify(ref)} is neither a git ref nor a folder with src/main.ts`);
  const root = join(directory, 'other');
  mkdirSync(root);
  const archive = git('archive', '--format=tar', commit);
  if (archive.status !== 0) throw new NoVersion(`git archive ${ref}: ${archive.stderr.toString().trim()}`);
  execFileSync('tar', ['-x', '-C', root], { input: archive.stdout });
  if (!existsSync(join(root, 'src/main.ts'))) throw new NoVersion(`${ref} has no src/main.ts`);
  symlinkSync(join(ROOT, 'node_modules'), join(root, 'node_modules'));
  return root;
}

function bundle(root: string, folder: string): string {
  const built = spawnSync(process.execPath, [join(root, 'scripts/build.ts'), folder], { encoding: 'utf8' });
  if (built.status !== 0) throw new NoVersion(`${root} cannot be bundled: ${built.stderr.trim()}`);
  return join(folder, 'portcullis.mjs');
}
