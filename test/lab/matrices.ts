/** Matrices and answers for tests, without a network. */
import type { Family } from '../../src/core/vocabulary.ts';
import type { EndpointKey, ProbeOutcome, ProbeResult } from '../../lab/network/types.ts';
import type { Matrix, MatrixCell, MatrixEndpoint, MatrixPort } from '../../lab/matrix.ts';

export const TCP_80: MatrixPort = { protocol: 'TCP', port: 80 };

/** `x/a` is a pod, `node-1` a node, anything else is outside; `address` is the last part of both families' addresses. */
export function endpoint(label: string, address: number, node?: string): MatrixEndpoint {
  const kind = label.includes('/') ? 'pod' : label.startsWith('node') ? 'node' : 'outside';
  const addresses = [`203.0.113.${address}`, `2001:db8::${address.toString(16)}`];
  const at = kind === 'node' ? { node: label, hostOf: label } : node === undefined ? {} : { node };
  return { key: `${kind}/${label}` as EndpointKey, label, kind, addresses, ...at };
}

export interface MatrixShape {
  readonly ports?: readonly MatrixPort[];
  readonly families?: readonly Family[];
  /** Predicted to be dropped. */
  readonly denied?: (from: string, to: string, port: MatrixPort, family: Family) => boolean;
}

/** Every endpoint to every other one, pods or not. */
export function matrixOf(labels: readonly string[], shape: MatrixShape = {}): Matrix {
  const { ports = [TCP_80], families = [4], denied = () => false } = shape;
  const endpoints = labels.map((label, index) => endpoint(label, index + 1));
  const cells: MatrixCell[] = [];
  for (const [from, source] of endpoints.entries()) {
    for (const [to, destination] of endpoints.entries()) {
      if (from === to) continue;
      for (const family of families) {
        const address = destination.addresses[family === 4 ? 0 : 1]!;
        for (const port of ports) {
          const predicted = !denied(source.label, destination.label, port, family);
          cells.push({ from, to, family, port, probe: { from: source.key, address, ...port }, predicted });
        }
      }
    }
  }
  return { endpoints, ports, cells };
}

export function answer(outcome: ProbeOutcome, detail?: string): ProbeResult {
  return { outcome, rttUs: 100, ...(detail === undefined ? {} : { detail }) };
}
