/** Marks of live flows, through the `conntrack` tool: whether any carries a mark, and taking it off those that do. */
import type { Family } from '../net/ip.ts';
import type { RunCommand } from './command.ts';

import { CommandFailed } from './command.ts';

const TIMEOUT_MS = 10_000;
/** Some hundred flows: more are not looked at, and not cleared, one process and one walk through the table for each. */
const MAX_LISTING_BYTES = 16 * 1024;
const AT_ONCE = 4;

export interface FlowMarks {
  /** Whether the mark of a flow that may go on is `value` under `mask`. Rejects with CommandFailed. */
  isCarried(family: Family, value: number, mask: number): Promise<boolean>;
  /** Sets those bits to 0 on flows that carry them, other bits stay; of very many only on some. Rejects with CommandFailed. */
  clear(family: Family, value: number, mask: number): Promise<void>;
}

export function createFlowMarks(run: RunCommand): FlowMarks {
  const list = async (family: Family, value: number, mask: number): Promise<readonly string[]> => {
    // The kernel itself picks them out: nothing is printed of all the others.
    const argv = ['conntrack', '-L', ...ofFamily(family), '-m', `${hex(value)}/${hex(mask)}`] as const;
    const { stdout } = await run({ argv, timeoutMs: TIMEOUT_MS, stopAfterBytes: MAX_LISTING_BYTES });
    const flows = stdout.split('\n').filter((line) => line !== '');
    // Whether one of the others is alive is not known.
    return stdout.length >= MAX_LISTING_BYTES ? flows : flows.filter((flow) => !IS_OVER.test(flow));
  };
  const clearOne = async (family: Family, flow: readonly string[], mask: number): Promise<void> => {
    const argv = ['conntrack', '-U', ...ofFamily(family), ...flow, '-m', `0x0/${hex(mask)}`] as const;
    try {
      await run({ argv, timeoutMs: TIMEOUT_MS });
    } catch (error) {
      // It ended meanwhile.
      if (!(error instanceof CommandFailed) || error.reason !== 'exit') throw error;
    }
  };
  return {
    isCarried: async (family, value, mask) => (await list(family, value, mask)).length > 0,
    clear: async (family, value, mask) => {
      const flows = (await list(family, value, mask)).flatMap(readFlow).values();
      const work = async (): Promise<void> => {
        for (const flow of flows) await clearOne(family, flow, mask);
      };
      await Promise.all(Array.from({ length: AT_ONCE }, work));
    },
  };
}

/** TCP connections of which only the memory is left; there are many of them. */
const IS_OVER = /^tcp\s.* (TIME_WAIT|CLOSE) src=/;

function ofFamily(family: Family): readonly string[] {
  return ['-f', family === 4 ? 'ipv4' : 'ipv6'];
}

function hex(value: number): string {
  return `0x${(value >>> 0).toString(16)}`;
}

/** The original direction of one listed flow as arguments; nothing for protocols without ports, whose flows are short. */
function readFlow(line: string): string[][] {
  const found = /^(\S+) .*?\bsrc=(\S+) dst=(\S+) sport=(\d+) dport=(\d+) /.exec(line);
  if (!found) return [];
  const [, protocol, source, destination, sourcePort, port] = found as unknown as string[];
  return [['-p', protocol!, '-s', source!, '-d', destination!, '--sport', sourcePort!, '--dport', port!]];
}
