/** What is on a node, as it was saved: a bundle, or the text of the tools that print rules and sets. */
import { readFile } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import type { Table } from '../../dataplane/nftables/table/table.ts';

import { messageOf } from '../../core/error-text.ts';
import { readSavedText, type SavedText } from '../../dataplane/iptables/kernel/saved-host.ts';
import { TABLE_FAMILIES } from '../../dataplane/nftables/table/families.ts';
import { mergeTables, readTables } from '../../dataplane/nftables/table/read-table.ts';
import { isRecord } from '../../policy/raw-values.ts';
import { BUNDLE_COMMANDS } from '../bundle.ts';

export interface Observed {
  readonly saved: SavedText;
  /** Our tables of nftables; absent: there is none. */
  readonly table?: Table;
  /** What other commands printed, by their words. */
  readonly others: ReadonlyMap<string, string>;
  /** Of the agent that a bundle is of; `dataplane`: the one in use, as far as what was saved tells. */
  readonly settings: Readonly<Record<string, unknown>>;
}

/** Whether the node enforces with nftables: as its agent is told, which chooses that by itself where nothing speaks against it. */
export function isOfNftables(dataplane: unknown): boolean {
  return dataplane === 'nftables' || dataplane === 'auto';
}

/** `-` among the files: standard input. */
export async function readObserved(files: readonly string[]): Promise<Observed | { readonly problem: string }> {
  const texts: string[] = [];
  const others = new Map<string, string>();
  let settings: Readonly<Record<string, unknown>> | undefined;
  let table: Table | undefined;
  for (const file of files) {
    const text = await textOf(file);
    if (typeof text !== 'string') return { problem: `${file}: ${text.problem}` };
    const bundle = bundleIn(text);
    if (!bundle && TABLE.test(text)) {
      const read = tablesIn(text);
      if ('problem' in read) return { problem: `${file}: ${read.problem}` };
      table = merged(table, read.table);
      continue;
    }
    if (!bundle) {
      const read = readSavedText(text);
      if ('problem' in read) return { problem: `${file}: ${read.problem}` };
      texts.push(text);
      continue;
    }
    for (const [argv, found] of bundle.printed) others.set(argv, found);
    texts.push(...bundle.printed.flatMap(([argv, found]) => (/save( -c)?$/.test(argv) ? [found] : [])));
    for (const listed of LIST_TABLES.flatMap((command) => others.get(command) ?? [])) {
      const read = tablesIn(listed);
      if ('problem' in read) return { problem: `${file}: ${read.problem}` };
      table = merged(table, read.table);
    }
    settings = bundle.settings;
  }
  settings ??= { dataplane: table ? 'nftables' : 'iptables' };
  if (settings.dataplane === 'auto' && !table && texts.some((text) => OURS.test(text)))
    settings = { ...settings, dataplane: 'iptables' };
  const saved = texts.length === 0 ? NOTHING_SAVED : readSavedText(texts.join('\n'));
  if ('problem' in saved) return { problem: `${files.join(', ')}: ${saved.problem}` };
  return { saved, ...(table ? { table } : {}), others, settings };
}

const LIST_TABLES = ['nftables', 'nftables bridge'].map((name) => BUNDLE_COMMANDS[name]!.join(' '));
const TABLE = new RegExp(`^table (${TABLE_FAMILIES.join('|')}) \\S+ \\{`);
/** A chain of ours in what iptables-save prints. */
const OURS = /^:PCL-/m;
const NOTHING_SAVED: SavedText = { tables: new Map(), sets: [] };

function merged(one: Table | undefined, other: Table): Table {
  return one ? mergeTables([one, other]) : other;
}

/** One or both of ours, one behind the other, with the values of counters or without. */
function tablesIn(text: string): { readonly table: Table } | { readonly problem: string } {
  try {
    return { table: readTables(text.replaceAll(/^(\t\t[^"\n]*\bcounter) packets \d+ bytes \d+/gm, '$1')) };
  } catch (error) {
    return { problem: messageOf(error) };
  }
}

async function textOf(file: string): Promise<string | { readonly problem: string }> {
  try {
    return file === '-' ? (await buffer(process.stdin)).toString('utf8') : await readFile(file, 'utf8');
  } catch (error) {
    return { problem: messageOf(error) };
  }
}

interface Bundle {
  readonly settings: Readonly<Record<string, unknown>>;
  readonly printed: readonly (readonly [argv: string, text: string])[];
}

/** Undefined: it is none. */
function bundleIn(text: string): Bundle | undefined {
  if (!text.startsWith('{')) return undefined;
  const value: unknown = parsed(text);
  if (!isRecord(value) || !isRecord(value.commands)) return undefined;
  const { commands, config, pages } = value;
  return {
    settings: { ...FIRST_SETTINGS, ...(isRecord(config) ? config : {}), ...inUse(pages) },
    printed: Object.entries(BUNDLE_COMMANDS).flatMap(([name, argv]) => {
      const part = commands[name];
      return isRecord(part) && typeof part.found === 'string' ? [[argv.join(' '), part.found] as const] : [];
    }),
  };
}

/** Of agents that knew no other data plane. */
const FIRST_SETTINGS = { dataplane: 'iptables' };

/** As /status told, of an agent that chooses by itself. */
function inUse(pages: unknown): { readonly dataplane?: string } {
  const page = isRecord(pages) ? pages['/status'] : undefined;
  const status = isRecord(page) && typeof page.found === 'string' ? parsed(page.found) : undefined;
  const dataplane = isRecord(status) && isRecord(status.dataplane) ? status.dataplane.inUse : undefined;
  return typeof dataplane === 'string' ? { dataplane } : {};
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
