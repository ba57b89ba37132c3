/**
 * Who reaches whom: the cells to probe, what the reference evaluator predicts for them, and the two side by side as text.
 * Pure: measuring is the network's part.
 */
import { styleText } from 'node:util';
import type { Family } from '../net/ip.ts';
import type { ClusterSnapshot, Protocol } from '../policy/model.ts';
import type { EndpointKey, MatrixProbe, ProbeResult } from './network/types.ts';

import { createEvaluator } from '../policy/evaluate.ts';
import { PROTOCOL_NUMBER } from '../policy/model.ts';

/** A place in the lab that sends and receives. */
export interface MatrixEndpoint {
  readonly key: EndpointKey;
  /** As shown: `namespace/name`, a node's name, an outside host's name. */
  readonly label: string;
  readonly kind: 'pod' | 'node' | 'outside';
  readonly addresses: readonly string[];
  /** Set for nodes and host-network pods: the node whose host network it is. */
  readonly hostOf?: string;
}

export interface MatrixPort {
  readonly protocol: Protocol;
  readonly port: number;
}

export interface MatrixCell {
  /** Indexes into the endpoints. */
  readonly from: number;
  readonly to: number;
  readonly family: Family;
  readonly port: MatrixPort;
  readonly probe: MatrixProbe;
  readonly predicted: boolean;
}

export interface Matrix {
  readonly endpoints: readonly MatrixEndpoint[];
  readonly ports: readonly MatrixPort[];
  readonly cells: readonly MatrixCell[];
}

/** Every pair with a pod on at least one end (S-01), in every family both have, on every port. Without the diagonal. */
export function predictMatrix(
  snapshot: ClusterSnapshot,
  endpoints: readonly MatrixEndpoint[],
  ports: readonly MatrixPort[],
): Matrix {
  const evaluator = createEvaluator(snapshot);
  const cells: MatrixCell[] = [];
  for (const [from, source] of endpoints.entries()) {
    for (const [to, destination] of endpoints.entries()) {
      if (from === to || !concernsPods(source, destination)) continue;
      for (const family of [4, 6] as const) {
        const sourceAddress = addressOf(source, family);
        const address = addressOf(destination, family);
        if (sourceAddress === undefined || address === undefined) continue;
        for (const port of ports) {
          const { allowed } = evaluator.evaluate({
            source: sourceAddress,
            destination: address,
            protocol: PROTOCOL_NUMBER[port.protocol],
            port: port.port,
            ...(source.hostOf === undefined ? {} : { fromNode: source.hostOf }),
          });
          cells.push({ from, to, family, port, probe: { from: source.key, address, ...port }, predicted: allowed });
        }
      }
    }
  }
  return { endpoints, ports, cells };
}

function concernsPods(a: MatrixEndpoint, b: MatrixEndpoint): boolean {
  return (a.kind === 'pod' && a.hostOf === undefined) || (b.kind === 'pod' && b.hostOf === undefined);
}

function addressOf(endpoint: MatrixEndpoint, family: Family): string | undefined {
  return endpoint.addresses.find((address) => address.includes(':') === (family === 6));
}

/** Whether the packet got there: a refusal is an answer too, only silence is a drop (S-10). Undefined: the probe failed. */
export function arrived(result: ProbeResult): boolean | undefined {
  if (result.outcome === 'error') return undefined;
  return result.outcome !== 'blocked';
}

export interface MatrixDifference {
  readonly cell: MatrixCell;
  readonly result: ProbeResult;
}

export function differences(matrix: Matrix, results: readonly ProbeResult[]): readonly MatrixDifference[] {
  return matrix.cells.flatMap((cell, index) => {
    const result = results[index]!;
    return arrived(result) === cell.predicted ? [] : [{ cell, result }];
  });
}

export function describeCell(matrix: Matrix, cell: MatrixCell): string {
  const { protocol, port } = cell.port;
  const [from, to] = [matrix.endpoints[cell.from]!, matrix.endpoints[cell.to]!];
  return `${from.label} -> ${to.label} ${protocol} ${port} IPv${cell.family} (${cell.probe.address})`;
}

// ---------------------------------------------------------------------------------------------------------------- text

/** One table: the same for all the (family, port) pairs in `title`. */
interface Sheet {
  readonly titles: string[];
  readonly predicted: readonly string[];
  readonly measured: readonly string[];
}

/**
 * Predicted and measured tables side by side, one pair per group of families and ports that look the same. Rows send,
 * columns receive: `.` arrives, `X` does not, `-` is not asked, `!` marks a cell that differs from the prediction.
 */
export function matrixText(matrix: Matrix, results: readonly ProbeResult[] | undefined): string {
  const { endpoints } = matrix;
  const labelWidth = Math.max(...endpoints.map((endpoint) => endpoint.label.length), 4);
  const numbers = endpoints.map((_, index) => String(index + 1).padStart(2));
  const blockWidth = endpoints.length * 3;
  const lines: string[] = [];
  for (const sheet of sheetsOf(matrix, results)) {
    lines.push('', styleText('bold', titleOf(sheet.titles)));
    const heads = [padBlock('predicted', blockWidth), ...(results ? [padBlock('measured', blockWidth)] : [])];
    lines.push(styleText('dim', `${' '.repeat(labelWidth + 4)}${heads.join('    ')}`));
    const columns = numbers.map((number) => number.padStart(3)).join('');
    lines.push(styleText('dim', `${' '.repeat(labelWidth + 4)}${columns}${results ? `    ${columns}` : ''}`));
    for (const [row, endpoint] of endpoints.entries()) {
      const blocks = [sheet.predicted[row]!, ...(results ? [sheet.measured[row]!] : [])].map(paintRow);
      lines.push(`${styleText('dim', numbers[row]!)} ${endpoint.label.padEnd(labelWidth)} ${blocks.join('    ')}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

function padBlock(text: string, width: number): string {
  return ` ${text}`.padEnd(width);
}

function sheetsOf(matrix: Matrix, results: readonly ProbeResult[] | undefined): Sheet[] {
  const size = matrix.endpoints.length;
  const grids = new Map<string, { title: string; predicted: string[][]; measured: string[][] }>();
  for (const [index, cell] of matrix.cells.entries()) {
    const title = `${cell.port.protocol} ${cell.port.port}|${cell.family}`;
    let grid = grids.get(title);
    if (!grid) {
      grid = { title, predicted: blankGrid(size), measured: blankGrid(size) };
      grids.set(title, grid);
    }
    grid.predicted[cell.from]![cell.to] = cell.predicted ? '.' : 'X';
    if (results) grid.measured[cell.from]![cell.to] = measuredMark(cell, results[index]!);
  }
  const sheets = new Map<string, Sheet>();
  for (const { title, predicted, measured } of grids.values()) {
    const rows = { predicted: predicted.map((row) => row.join('')), measured: measured.map((row) => row.join('')) };
    const key = JSON.stringify(rows);
    const same = sheets.get(key);
    if (same) same.titles.push(title);
    else sheets.set(key, { titles: [title], ...rows });
  }
  return [...sheets.values()];
}

function blankGrid(size: number): string[][] {
  return Array.from({ length: size }, () => Array.from({ length: size }, () => '-'));
}

function measuredMark(cell: MatrixCell, result: ProbeResult): string {
  const got = arrived(result);
  if (got !== cell.predicted) return '!';
  return got ? '.' : 'X';
}

/** `TCP 80, TCP 443: IPv4 and IPv6` when both families agree on every port, else each pair by itself. */
function titleOf(titles: readonly string[]): string {
  const families = new Map<string, string[]>();
  for (const title of titles) {
    const [port, family] = title.split('|') as [string, string];
    families.set(port, [...(families.get(port) ?? []), family]);
  }
  const ports = new Map<string, string[]>();
  for (const [port, list] of families) {
    const key = list.map((family) => `IPv${family}`).join(' and ');
    ports.set(key, [...(ports.get(key) ?? []), port]);
  }
  return [...ports].map(([family, list]) => `${list.join(', ')}: ${family}`).join('; ');
}

const PAINT: Readonly<Record<string, (mark: string) => string>> = {
  '.': (mark) => styleText('green', mark),
  X: (mark) => styleText('red', mark),
  '-': (mark) => styleText('dim', mark),
  '!': (mark) => styleText(['bold', 'white', 'bgRed'], mark),
};

function paintRow(row: string): string {
  return [...row].map((mark) => `  ${PAINT[mark]!(mark)}`).join('');
}
