/** The JSON of `portcullis lab -o json`. Fields are only ever added; docs/lab.md lists them. Pure. */
import type { ClusterNetworkPolicyObject, NetworkPolicyObject } from './api/objects.ts';
import type { ManifestNote } from './apply-manifests.ts';
import type { AuditCount } from './audit-counts.ts';
import type { Matrix, MatrixCell, MatrixChange } from './matrix.ts';
import type { Measurement } from './measure.ts';

export interface ReportInput {
  readonly lab: {
    readonly nodes: readonly string[];
    readonly wiring: string;
    readonly families: readonly number[];
    readonly dataplane: string;
    readonly backend: string;
    readonly mode: string;
    /** Only while the lab stays up. */
    readonly kubeconfig?: string;
  };
  readonly skipped: readonly ManifestNote[];
  readonly policies: readonly NetworkPolicyObject[];
  readonly clusterPolicies: readonly ClusterNetworkPolicyObject[];
  readonly steps: readonly {
    readonly policy: string;
    readonly matrix: Matrix;
    readonly change: MatrixChange;
    readonly millisecondsToEnforced: number | undefined;
  }[];
  readonly matrix: Matrix;
  readonly measurement: Measurement;
  /** Of agents that audit. */
  readonly auditDenied?: readonly AuditCount[] | undefined;
  readonly seconds: number;
}

export function labReport(input: ReportInput): object {
  const { lab, skipped, policies, clusterPolicies, steps, matrix, measurement, auditDenied, seconds } = input;
  const count = (verdict: string): number => measurement.cells.filter((cell) => cell.verdict === verdict).length;
  return {
    ok: count('agrees') === matrix.cells.length,
    seconds: Math.round(seconds * 1000) / 1000,
    lab,
    skipped,
    policies: policies.map(({ metadata, spec }) => ({
      name: `${metadata.namespace}/${metadata.name}`,
      policyTypes: spec.policyTypes ?? [],
    })),
    clusterPolicies: clusterPolicies.map(({ metadata: { name }, spec: { tier, priority } }) => ({
      name,
      tier,
      priority,
    })),
    steps: steps.map(({ policy, change, millisecondsToEnforced, matrix: after }) => ({
      policy,
      millisecondsToEnforced: millisecondsToEnforced ?? null,
      nowDenied: change.nowDenied.map((cell) => cellFields(after, cell)),
      nowAllowed: change.nowAllowed.map((cell) => cellFields(after, cell)),
    })),
    endpoints: matrix.endpoints.map(({ label, kind, node, hostOf, addresses }) => ({
      name: label,
      kind,
      node: node ?? null,
      hostNetwork: hostOf !== undefined,
      addresses,
    })),
    ...(auditDenied ? { auditDenied } : {}),
    counts: {
      cells: matrix.cells.length,
      agree: count('agrees'),
      differ: count('differs'),
      flap: count('flaps'),
    },
    cells: matrix.cells.map((cell, index) => {
      const { result, verdict } = measurement.cells[index]!;
      return {
        ...cellFields(matrix, cell),
        address: cell.probe.address,
        predicted: cell.predicted ? 'allowed' : 'denied',
        measured: result.outcome,
        verdict,
        ...(result.detail === undefined ? {} : { detail: result.detail }),
      };
    }),
  };
}

function cellFields({ endpoints }: Matrix, { from, to, family, port }: MatrixCell): object {
  return { from: endpoints[from]!.label, to: endpoints[to]!.label, family, ...port };
}
