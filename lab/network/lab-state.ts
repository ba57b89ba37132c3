/**
 * Which labs there are, who owns them, and how one is taken away, whatever became of its owner.
 *
 * Each lab has a directory /run/portcullis-lab/<prefix> from before its first namespace until after its last, holding the
 * owner's identity, lock files and unix sockets. Namespaces without such a directory are not ours and are never touched.
 */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

export const STATE_ROOT = '/run/portcullis-lab';
const NETNS_ROOT = '/run/netns';
/** No prefix is the start of another one. Short, because unix socket paths end at 107 bytes. */
const PREFIX_PATTERN = /^pcl-[a-z0-9]{1,16}-$/;
const REMOVAL_TIMEOUT_MS = 20_000;

/** A process, told apart from a later one with the same pid. */
interface Owner {
  readonly pid: number;
  /** Clock ticks since boot, field 22 of /proc/<pid>/stat. */
  readonly startTime: string;
  readonly bootId: string;
}

export interface LabClaim {
  readonly prefix: string;
  /** For lock files and sockets. */
  readonly directory: string;
}

/** Registers this process as the owner of `prefix`, by default a fresh one. Throws if the prefix is taken or malformed. */
export function claimPrefix(prefix = `pcl-${randomBytes(4).toString('hex')}-`, stateRoot = STATE_ROOT): LabClaim {
  if (!PREFIX_PATTERN.test(prefix)) throw new Error(`lab prefix: ${prefix} does not match ${PREFIX_PATTERN.source}`);
  mkdirSync(stateRoot, { recursive: true, mode: 0o700 });
  const directory = join(stateRoot, prefix);
  // Complete from its first moment: a sweep of another process must never see a directory without an owner.
  const unfinished = mkdtempSync(join(stateRoot, '.new-'));
  writeFileSync(join(unfinished, 'owner.json'), JSON.stringify(identify(process.pid)));
  try {
    renameSync(unfinished, directory);
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    throw new Error(`lab prefix: ${prefix} is in use`, { cause: error });
  }
  return { prefix, directory };
}

/**
 * Removes the labs whose owner is gone and names their prefixes. Those of a living process are left alone, also when its owner
 * file cannot be read.
 */
export function sweep(stateRoot = STATE_ROOT): readonly string[] {
  const dead = listDirectory(stateRoot).filter((name) => PREFIX_PATTERN.test(name) && isDead(join(stateRoot, name)));
  for (const prefix of dead) removeLab({ prefix, directory: join(stateRoot, prefix) });
  return dead;
}

/**
 * Kills what runs in the lab's namespaces and deletes them. Synchronous, so that it works in `exit` and signal handlers; gives what
 * went wrong instead of throwing, and keeps the directory then, for a later sweep; `keepDirectory` if a command may still be making
 * namespaces.
 */
export function removeLab({ prefix, directory }: LabClaim, keepDirectory = false): string | undefined {
  const names = labNamespaces(prefix);
  for (const pid of processesIn(names)) killQuietly(pid);
  if (names.length > 0) {
    const input = names.map((name) => `netns del ${name}\n`).join('');
    const result = spawnSync('ip', ['-force', '-batch', '-'], { input, encoding: 'utf8', timeout: REMOVAL_TIMEOUT_MS });
    const left = labNamespaces(prefix);
    if (left.length > 0) return `${left.join(', ')}: ${result.error?.message ?? result.stderr.trim()}`;
  }
  if (keepDirectory) return undefined;
  try {
    rmSync(directory, { recursive: true, force: true });
  } catch (error) {
    return String(error);
  }
  return undefined;
}

/** The namespaces that exist under a prefix. */
export function labNamespaces(prefix: string): readonly string[] {
  return listDirectory(NETNS_ROOT).filter((name) => name.startsWith(prefix));
}

/** Pids of every process in one of these namespaces, this process itself excepted. */
function processesIn(names: readonly string[]): number[] {
  const inodes = new Set(names.flatMap((name) => inodeOf(join(NETNS_ROOT, name)) ?? []));
  if (inodes.size === 0) return [];
  return listDirectory('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && pid !== process.pid && inodes.has(netnsOf(pid) ?? -1));
}

function inodeOf(path: string): number | undefined {
  try {
    return statSync(path).ino;
  } catch {
    return undefined;
  }
}

/** Undefined for a process that has ended. */
function netnsOf(pid: number): number | undefined {
  try {
    // "net:[4026531840]"
    return Number(/\[(\d+)\]/.exec(readlinkSync(`/proc/${pid}/ns/net`))?.[1]);
  } catch {
    return undefined;
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself in between.
  }
}

function isDead(directory: string): boolean {
  try {
    const owner = JSON.parse(readFileSync(join(directory, 'owner.json'), 'utf8')) as Owner;
    const current = identify(owner.pid);
    return current?.startTime !== owner.startTime || current.bootId !== owner.bootId;
  } catch {
    return false;
  }
}

/** Undefined if there is no such process. */
function identify(pid: number): Owner | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name in parentheses and may hold anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { pid, startTime: fields[19] ?? '', bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim() };
  } catch {
    return undefined;
  }
}

function listDirectory(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
