import { stringify } from 'yaml';
import type { Inventory } from '../../cluster/inventory.ts';
import { CLUSTER_POLICY_VERSION, type ManifestObject, withNamespace } from '../../cluster/read-manifests.ts';
import type { Finding, Level, LintWorld, WrittenPolicy } from '../../policy/lint.ts';
import type { WrittenClusterPolicy } from '../../policy/lint-tiers.ts';
import type { CommandContext } from '../command.ts';
import type { LintOptions } from './options.ts';

import { CHECKS, LEVELS, lintPolicies } from '../../policy/lint.ts';
import { lintClusterPolicies, lintOtherGroup } from '../../policy/lint-tiers.ts';
import { parseClusterPolicy } from '../../policy/parse-cluster-policy.ts';
import { parsePolicy } from '../../policy/parse.ts';
import { isRecord } from '../../policy/raw-values.ts';
import { EXIT_FAILURE, EXIT_OK } from '../exit-codes.ts';
import { paintFor } from '../paint.ts';
import { readInventory } from '../source/read-objects.ts';
import { findingsData, findingsText, type Placed, sarif } from './report.ts';

export async function runLint(options: LintOptions, context: CommandContext): Promise<number> {
  const inventory = await readInventory(options, context, { tellsOfPolicies: true });
  if (!inventory) return EXIT_FAILURE;
  const written = inventory.objects.flatMap((from) => policyIn(from, options.namespace));
  const clusterWide = inventory.objects.flatMap(clusterPolicyIn);
  const channel = options.files.length === 0 ? 'experimental' : channelIn(inventory);
  const world: LintWorld = {
    snapshot: inventory.snapshot,
    serviceAddresses: addressesOf(inventory),
    isWhole: options.files.length === 0 || isDump(inventory),
    // What a running cluster holds its API server has taken.
    ...(channel ? { channel } : {}),
  };
  const places = new Map([
    ...written.map(({ policy, from }) => [placeKey({ kind: 'NetworkPolicy', ...policy }), from] as const),
    ...clusterWide.map(({ policy, from }) => [placeKey({ kind: 'ClusterNetworkPolicy', ...policy }), from] as const),
  ]);
  const others = inventory.objects.flatMap((from) => otherGroup(from));
  const placeOf = (finding: Finding): Placed => ({ finding, from: places.get(placeKey(finding.object)) });
  const all = [
    ...lintPolicies(written, world).map(placeOf),
    ...lintClusterPolicies(clusterWide, world).map(placeOf),
    ...others,
  ];
  const found = all.map(({ finding }) => finding);
  const placed = all.filter(({ finding: { check } }) => isAtLeast(CHECKS[check][0], options.level));
  context.out(textOf(placed, written.length + clusterWide.length + others.length, options, context));
  const { failOn } = options;
  const fails = failOn !== 'never' && found.some(({ check }) => isAtLeast(CHECKS[check][0], failOn));
  return fails ? EXIT_FAILURE : EXIT_OK;
}

function textOf(placed: readonly Placed[], policies: number, { output }: LintOptions, context: CommandContext): string {
  switch (output) {
    case 'text':
      return findingsText(placed, policies, paintFor(process.stdout, context.env));
    case 'json':
      return `${JSON.stringify(findingsData(placed), undefined, 2)}\n`;
    case 'yaml':
      return stringify(findingsData(placed));
    case 'sarif':
      return `${JSON.stringify(sarif(placed, context.version), undefined, 2)}\n`;
  }
}

function isAtLeast(level: Level, least: Level): boolean {
  return LEVELS.indexOf(level) <= LEVELS.indexOf(least);
}

/** What cannot be named as a policy is told by the reader. */
function policyIn(
  from: ManifestObject,
  defaultNamespace: string,
): (WrittenPolicy & { readonly from: ManifestObject })[] {
  const { object } = from;
  if (!isRecord(object) || object.kind !== 'NetworkPolicy' || object.apiVersion !== 'networking.k8s.io/v1') return [];
  const raw = withNamespace(object, defaultNamespace);
  const { policy, problems } = parsePolicy(raw);
  return policy && isRecord(raw) ? [{ raw, policy, problems, from }] : [];
}

function clusterPolicyIn(from: ManifestObject): (WrittenClusterPolicy & { readonly from: ManifestObject })[] {
  const { object: raw } = from;
  if (!isRecord(raw) || raw.kind !== 'ClusterNetworkPolicy' || raw.apiVersion !== CLUSTER_POLICY_VERSION) return [];
  const { policy, problems } = parseClusterPolicy(raw);
  return policy ? [{ raw, policy, problems, from }] : [];
}

function otherGroup(from: ManifestObject): readonly Placed[] {
  const finding = isRecord(from.object) ? lintOtherGroup(from.object) : undefined;
  return finding ? [{ finding, from }] : [];
}

function placeKey({ kind, namespace = '', name }: Finding['object']): string {
  return `${kind} ${namespace}/${name}`;
}

const CRD = 'clusternetworkpolicies.policy.networking.k8s.io';
const CHANNEL = 'policy.networking.k8s.io/channel';

/** Of the CRD, where it is among what is given (N-2). */
function channelIn({ objects }: Inventory): LintWorld['channel'] {
  for (const { object } of objects) {
    if (!isRecord(object) || object.kind !== 'CustomResourceDefinition' || !isRecord(object.metadata)) continue;
    const { name, annotations } = object.metadata;
    const channel = isRecord(annotations) ? annotations[CHANNEL] : undefined;
    if (name === CRD && (channel === 'standard' || channel === 'experimental')) return channel;
  }
  return undefined;
}

/** Manifests with the namespace of the system's own pods are those of a whole cluster. */
function isDump({ objects }: Inventory): boolean {
  return objects.some(
    ({ object }) =>
      isRecord(object) &&
      object.kind === 'Namespace' &&
      isRecord(object.metadata) &&
      object.metadata.name === 'kube-system',
  );
}

function addressesOf({ services }: Inventory): ReadonlyMap<string, string> {
  return new Map(
    services.flatMap(({ namespace, name, clusterIPs }) => clusterIPs.map((ip) => [ip, `${namespace}/${name}`])),
  );
}
