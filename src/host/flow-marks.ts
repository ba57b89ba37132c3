/** Marks of live flows: how many carry a mark, and taking it off those that do. By the `conntrack` tool, and counted without it where that can be. */
import type { Family } from '../core/vocabulary.ts';
import type { RunCommand } from './command.ts';
import type { CarriedMark, FlowCount, FlowCounter } from './flow-counter.ts';

import { CommandFailed } from './command.ts';

const TIMEOUT_MS = 10_000;
/** Some hundred flows: no more are looked at in one go. */
const MAX_LISTING_BYTES = 16 * 1024;
/** Each walks through the whole table: 37 ms with 100,000 entries. */
const MAX_UPDATES = 8;
/** So many flows between the same two ends are updated in one walk. */
const MIN_GROUP = 3;

interface FlowMarks {
  /** Flows that carry the mark, of any protocol and state; beyond a hundred or so some of them. Rejects with CommandFailed. */
  count(family: Family, carried: CarriedMark): Promise<number>;
  /** Sets `bits` to 0 in flows that carry the mark; of many only in some. Other bits stay. Rejects with CommandFailed. */
  clearSome(family: Family, carried: CarriedMark, bits: number): Promise<void>;
}

/** `counter`: absent, or where it cannot tell: the tool counts. */
export function createFlowMarks(run: RunCommand, counter?: FlowCounter): FlowMarks {
  const list = async (family: Family, { value, mask }: CarriedMark): Promise<readonly string[]> => {
    // The kernel itself picks them out: nothing is printed of all the others.
    const argv = ['conntrack', '-L', ...ofFamily(family), '-m', `${hex(value)}/${hex(mask)}`] as const;
    const { stdout } = await run({
      argv,
      timeoutMs: TIMEOUT_MS,
      stopAfterBytes: MAX_LISTING_BYTES,
      background: true,
    });
    return stdout.split('\n').filter((line) => line !== '');
  };
  const count = async (family: Family, carried: CarriedMark): Promise<FlowCount> => {
    const counted = await counter?.count(family, carried);
    return counted ?? { flows: (await list(family, carried)).length, mayMiss: true };
  };
  return {
    count: async (family, carried) => {
      const { flows, mayMiss } = await count(family, carried);
      // A walk misses entries when the table is resized under it; the next one then begins behind that.
      return flows > 0 || !mayMiss ? flows : (await count(family, carried)).flows;
    },
    clearSome: async (family, carried, bits) => {
      for (const flows of groups(await list(family, carried)).slice(0, MAX_UPDATES)) {
        const argv = ['conntrack', '-U', ...ofFamily(family), ...flows, '-m', `0x0/${hex(bits)}`] as const;
        try {
          await run({ argv, timeoutMs: TIMEOUT_MS, background: true });
        } catch (error) {
          // They ended meanwhile; or there were more than 256, of which the tool changes so many before it fails (ENOBUFS).
          if (!(error instanceof CommandFailed) || error.reason !== 'exit') throw error;
        }
      }
    },
  };
}

function ofFamily(family: Family): readonly string[] {
  return ['-f', family === 4 ? 'ipv4' : 'ipv6'];
}

function hex(value: number): string {
  return `0x${(value >>> 0).toString(16)}`;
}

/** Arguments that pick out listed flows by their original direction, the largest group first. */
function groups(lines: readonly string[]): readonly (readonly string[])[] {
  const flows = lines.flatMap((line) => readFlow(line) ?? []);
  return [...Map.groupBy(flows, ({ ends }) => ends.join(' ')).values()]
    .sort((a, b) => b.length - a.length)
    .flatMap((alike) => {
      return alike.length < MIN_GROUP ? alike.map(({ ends, own }) => [...ends, ...own]) : [alike[0]!.ends];
    });
}

/** `ends`: of the flow and others like it. `own`: what tells it from those. Protocols without ports have nothing of the kind. */
function readFlow(line: string): { readonly ends: readonly string[]; readonly own: readonly string[] } | undefined {
  const found = /^(\S+) .*?\bsrc=(\S+) dst=(\S+)(?: sport=(\d+) dport=(\d+))? /.exec(line);
  // What is in a zone of its own the tool (1.4.7) cannot update.
  if (!found || / zone=/.test(line)) return undefined;
  const [, protocol, source, destination, sourcePort, port] = found as unknown as string[];
  const between = ['-s', source!, '-d', destination!];
  if (port === undefined) return { ends: between, own: [] };
  return { ends: ['-p', protocol!, ...between, '--dport', port], own: ['--sport', sourcePort!] };
}
