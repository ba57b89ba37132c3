/** Reads table mangle of one variant and family. A read that failed, or whose answer is impossible, is not an answer. */
import { readFile } from 'node:fs/promises';
import type { Backend, Family } from '../../../core/vocabulary.ts';
import type { Sliced } from '../../../core/sliced.ts';
import type { CommandRequest, RunCommand } from '../../../host/command.ts';

import { CommandFailed } from '../../../host/command.ts';
import { runSliced } from '../../../core/run-sliced.ts';
import { messageOf } from '../../../core/error-text.ts';

const TIMEOUT_MS = 30_000;
const LINES_PER_STEP = 2_000;

export type Listing =
  | { readonly kind: 'read'; readonly text: string }
  /** Known to hold nothing: the table does not exist. */
  | { readonly kind: 'empty' }
  /** Known to be impossible: the program is not installed, or the kernel does not have the table or the family. */
  | { readonly kind: 'absent'; readonly why: string }
  /** Not known. To be asked again. */
  | { readonly kind: 'unknown'; readonly why: string };

/** Which legacy tables of a family exist. Reading one with the tool would make it. */
export type ReadTableNames = (family: Family) => Promise<readonly string[]>;

/** What the tools say where the kernel lacks the table, the family, or all of netfilter's tables (iptables 1.8). */
const KERNEL_LACKS_IT = [
  /Address family not supported by protocol/,
  /Protocol not supported/,
  /Cannot initialize: iptables who\?/,
  /Cannot initialize: Table does not exist/,
  /can't initialize ip6?tables table `mangle'/,
  /Could not fetch rule set generation id: (Invalid argument|Operation not supported)/,
];

export async function listRules(run: RunCommand, backend: Backend, family: Family): Promise<Listing> {
  const argv: CommandRequest['argv'] = [saveTool(backend, family), '-t', 'mangle'];
  try {
    const { stdout } = await run({ argv, timeoutMs: TIMEOUT_MS });
    const wrong = await runSliced(whyNoListing(stdout, family));
    return wrong === undefined ? { kind: 'read', text: stdout } : { kind: 'unknown', why: `${argv[0]}: ${wrong}` };
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    const isKnown = error.reason === 'not-found' || KERNEL_LACKS_IT.some((text) => text.test(error.stderr));
    return { kind: isKnown ? 'absent' : 'unknown', why: error.message };
  }
}

/** As `listRules`, of the legacy variant, without making a table that does not exist. */
export async function listLegacyRules(run: RunCommand, names: ReadTableNames, family: Family): Promise<Listing> {
  try {
    if (!(await names(family)).includes('mangle')) return { kind: 'empty' };
  } catch (error) {
    return { kind: 'unknown', why: messageOf(error) };
  }
  return listRules(run, 'iptables-legacy', family);
}

/** Where another layout might have rules. Not in nat, which sees no packet but the first, and which kube-proxy makes very long. */
export const OTHER_TABLES = ['raw', 'filter', 'security'] as const;

/** Those tables, as far as they can be read: text of `iptables-save`. Undefined: not to be told now. */
export async function listOtherTables(
  run: RunCommand,
  names: ReadTableNames,
  backend: Backend,
  family: Family,
): Promise<string | undefined> {
  try {
    const there = backend === 'iptables-nft' ? undefined : await names(family);
    const tables = OTHER_TABLES.filter((table) => there === undefined || there.includes(table));
    if (tables.length === 0) return '';
    const argv: CommandRequest['argv'] = ['sh', '-c', SAVE_EACH, saveTool(backend, family), ...tables];
    return (await run({ argv, timeoutMs: TIMEOUT_MS })).stdout;
  } catch (error) {
    if (error instanceof CommandFailed && error.exitCode === SHELL_NOT_FOUND) return '';
    return undefined;
  }
}

/** From a small process that takes less than from this one. */
const SAVE_EACH = 'for table; do "$0" -t "$table" || exit; done';
/** What the shell ends with where a program is not installed. */
const SHELL_NOT_FOUND = 127;

/** What a command that lists rules asks of which program; undefined: it is none. */
export function tablesAsked(
  argv: readonly string[],
): { readonly program: string; readonly tables: readonly string[] } | undefined {
  const [program = '', , second, save = '', ...tables] = argv;
  if (second === SAVE_EACH) return { program: save, tables };
  return program.endsWith('-save') && second !== undefined ? { program, tables: [second] } : undefined;
}

function saveTool(backend: Backend, family: Family): string {
  const variant = backend === 'iptables-nft' ? 'nft' : 'legacy';
  return `${family === 4 ? 'iptables' : 'ip6tables'}-${variant}-save`;
}

/** Why the text cannot be what table mangle holds; undefined if it can. */
export function* whyNoListing(text: string, family: Family): Sliced<string | undefined> {
  if (/^# Table `mangle' is incompatible/m.test(text)) return incompatible(family);
  let state: 'before' | 'inside' | 'after' = 'before';
  const builtIn = new Set(['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING']);
  let count = 0;
  for (let start = 0; start < text.length; ) {
    const newline = text.indexOf('\n', start);
    if (newline < 0) return `its output ends in the middle of a line: ${quoted(text.slice(start))}`;
    const line = text.slice(start, newline);
    start = newline + 1;
    if (++count % LINES_PER_STEP === 0) yield;
    if (line === '' || line.startsWith('#')) continue;
    if (line === '*mangle' && state === 'before') state = 'inside';
    else if (line === 'COMMIT' && state === 'inside') state = 'after';
    else if (line.startsWith(':') && state === 'inside') builtIn.delete(line.slice(1).split(' ', 1)[0]!);
    else if (!line.startsWith('-A ') || state !== 'inside') return `its output makes no sense: ${quoted(line)}`;
  }
  if (state !== 'after') return text === '' ? 'it printed nothing' : 'its output ends before the table does';
  return builtIn.size === 0 ? undefined : `chain ${[...builtIn][0]} is not in its output`;
}

function incompatible(family: Family): string {
  const table = family === 4 ? 'ip mangle' : 'ip6 mangle';
  return (
    `table mangle holds a rule that iptables cannot read, which somebody added with nft: find it with ` +
    `"nft list table ${table}", and move it into a table of its own`
  );
}

function quoted(line: string): string {
  return JSON.stringify(line.length > 80 ? `${line.slice(0, 80)}...` : line);
}

/** Of this process's network namespace. Without the file the module is not loaded, and there are no such tables. */
export const readTableNames: ReadTableNames = async (family) => {
  try {
    const text = await readFile(`/proc/net/${family === 4 ? 'ip' : 'ip6'}_tables_names`, 'utf8');
    return text.split('\n').filter((name) => name !== '');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
};

/** Whether anything here can have an IPv6 address: false where the kernel has no IPv6, or was started without. */
export async function hostHasIpv6(): Promise<boolean> {
  try {
    await readFile('/proc/net/if_inet6', 'utf8');
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENOENT';
  }
}
