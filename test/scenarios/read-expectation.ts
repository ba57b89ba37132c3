/** A table block: one line that says what is sent, then who reaches whom. */
import { PROTOCOLS } from '../../src/core/vocabulary.ts';
import { parseTruthTable, type TruthTable } from '../support/truth-table.ts';
import type { Expectation, Via } from './scenario.ts';
import { fail, portNumber, type Source } from './source.ts';

const PROBE = /^(?:(ICMP)|(\w+) (\d+))(?: via (Service|node port of \S+))?(?: over IPv([46]))?$/;

export interface TableBlock {
  readonly table: TruthTable;
  readonly expectations: readonly Expectation[];
}

/** `text`: the block without its fences; `source`: its first line. */
export function readExpectations(text: string, source: Source): TableBlock {
  const [head = '', ...rows] = text.split('\n');
  const table = rows.join('\n');
  const expectations = head.split(', ').map((probe) => readProbe(probe.trim(), table, source));
  return { table: readTable(table, { ...source, line: source.line + 1 }), expectations };
}

function readTable(text: string, source: Source): TruthTable {
  try {
    return parseTruthTable(text);
  } catch (error) {
    return fail(source, (error as Error).message);
  }
}

/** `TCP 80`, `ICMP`, `UDP 81 via Service`, `TCP 80 via node port of node-1 over IPv4`. */
function readProbe(text: string, table: string, source: Source): Expectation {
  const [match, icmp, name, port, way, family] = PROBE.exec(text) ?? [];
  if (match === undefined) return fail(source, `"${text}" is no probe like "TCP 80" or "ICMP" before a table`);
  const protocol = PROTOCOLS.find((each) => each === name);
  if (icmp === undefined && protocol === undefined) return fail(source, `"${text}": no protocol ${name}`);
  return {
    protocol: protocol ?? 'ICMP',
    port: icmp === undefined ? portNumber(port, source) : 0,
    via: viaOf(way),
    ...(family === undefined ? {} : { families: [family === '4' ? 4 : 6] }),
    table,
  };
}

function viaOf(way: string | undefined): Via {
  if (way === undefined) return 'pod-ip';
  return way === 'Service' ? 'cluster-ip' : { nodePortOf: way.slice('node port of '.length) };
}
