/** Who reaches whom: the cells to probe and what the reference evaluator predicts for them. Pure: measuring is in measure.ts. */
import type { Family, Protocol } from '../src/core/vocabulary.ts';
import type { ClusterSnapshot } from '../src/policy/model.ts';
import type { EndpointKey, MatrixProbe, ProbeResult } from './network/types.ts';

import { createEvaluator } from '../src/policy/evaluate.ts';
import { familyOf } from '../src/net/ip.ts';
import { FAMILIES, PROTOCOL_NUMBER } from '../src/core/vocabulary.ts';

/** A place in the lab that sends and receives. */
export interface MatrixEndpoint {
  readonly key: EndpointKey;
  /** As shown: `namespace/name`, a node's name, an outside host's name. */
  readonly label: string;
  readonly kind: 'pod' | 'node' | 'outside';
  readonly addresses: readonly string[];
  /** The node it is on or is; absent outside. */
  readonly node?: string;
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
  /** True: the packet arrives. */
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
      for (const family of FAMILIES) {
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
  return endpoint.addresses.find((address) => familyOf(address) === family);
}

/** Whether the packet got there: a refusal is an answer too, only silence is a drop (S-10). Undefined: the probe failed. */
export function arrived(result: ProbeResult): boolean | undefined {
  if (result.outcome === 'error') return undefined;
  return result.outcome !== 'blocked';
}

export function agrees(cell: Pick<MatrixCell, 'predicted'>, result: ProbeResult): boolean {
  return arrived(result) === cell.predicted;
}

export interface MatrixDifference {
  readonly cell: MatrixCell;
  readonly result: ProbeResult;
}

export function differences(matrix: Matrix, results: readonly ProbeResult[]): readonly MatrixDifference[] {
  return matrix.cells.flatMap((cell, index) => {
    const result = results[index]!;
    return agrees(cell, result) ? [] : [{ cell, result }];
  });
}

/** `shop/web -> shop/db TCP 5432 IPv4 (10.244.0.3)`. */
export function describeCell(matrix: Matrix, cell: MatrixCell): string {
  const { protocol, port } = cell.port;
  const [from, to] = [matrix.endpoints[cell.from]!, matrix.endpoints[cell.to]!];
  return `${from.label} -> ${to.label} ${protocol} ${port} IPv${cell.family} (${cell.probe.address})`;
}

/** What a change of the cluster means for packets. Cells are those of the later matrix. */
export interface MatrixChange {
  readonly nowDenied: readonly MatrixCell[];
  readonly nowAllowed: readonly MatrixCell[];
  /** Labels of endpoints that only one of the two has. */
  readonly appeared: readonly string[];
  readonly gone: readonly string[];
}

/** Compares by endpoint, family and port, so endpoints may come and go; a cell of a new endpoint is no change. */
export function compareMatrices(before: Matrix, after: Matrix): MatrixChange {
  const known = new Map(before.cells.map((cell) => [cellKey(before, cell), cell.predicted]));
  const changed = after.cells.filter((cell) => known.get(cellKey(after, cell)) === !cell.predicted);
  const labels = (matrix: Matrix): Set<string> => new Set(matrix.endpoints.map(({ label }) => label));
  const [old, present] = [labels(before), labels(after)];
  return {
    nowDenied: changed.filter((cell) => !cell.predicted),
    nowAllowed: changed.filter((cell) => cell.predicted),
    appeared: [...present].filter((label) => !old.has(label)),
    gone: [...old].filter((label) => !present.has(label)),
  };
}

function cellKey({ endpoints }: Matrix, { from, to, family, port }: MatrixCell): string {
  return JSON.stringify([endpoints[from]!.key, endpoints[to]!.key, family, port.protocol, port.port]);
}
