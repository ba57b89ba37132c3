/** What the page shows of objects: policies, the matrix, and the matrix beside that with an edited policy. */
import { stringify } from 'yaml';
import type { Inventory } from '../../cluster/inventory.ts';
import type { ManifestObject } from '../../cluster/read-manifests.ts';
import type { ClusterPolicy, ClusterSnapshot, Policy, Problem } from '../../policy/model.ts';
import type { ObjectSource } from '../source/options.ts';

import { inventoryOf } from '../../cluster/inventory.ts';
import { CLUSTER_POLICY_VERSION, parseManifests, withNamespace } from '../../cluster/read-manifests.ts';
import { isEligible } from '../../policy/address-owners.ts';
import { isSubjectOf } from '../../policy/evaluate-tiers.ts';
import { objectKey, TIERS } from '../../policy/model.ts';
import { parseClusterPolicy } from '../../policy/parse-cluster-policy.ts';
import { parsePolicy } from '../../policy/parse.ts';
import { isAudited } from '../../policy/policy-mode.ts';
import { isRecord, type RawRecord } from '../../policy/raw-values.ts';
import { matches } from '../../policy/selector.ts';
import { problemText } from '../../telemetry/problem-log.ts';
import { summaryOf } from '../matrix/text.ts';
import { viewOf } from '../matrix/view.ts';
import { pageData } from '../page/page-data.ts';

const WHOLE = { from: [], to: [], ports: [], group: undefined, enforcesAudited: false } as const;

export function matrixOf(inventory: Inventory): object {
  return dataOf([inventory], '');
}

function dataOf(inventories: readonly Inventory[], title: string): object {
  const view = viewOf(inventories, WHOLE);
  return pageData(view, title, summaryOf(view));
}

export function policiesOf({ objects, snapshot }: Inventory, { namespace }: ObjectSource): readonly object[] {
  const written = new Map(objects.flatMap((from) => rawPolicy(from, namespace)).map((raw) => [keyOf(raw), raw]));
  const own = [...snapshot.policies.values()]
    .sort((a, b) => (objectKey(a) < objectKey(b) ? -1 : 1))
    .map((policy) => ({ ...factsOf(policy, snapshot), yaml: yamlOf(written.get(objectKey(policy))) }));
  const ofAll = [...(snapshot.clusterPolicies?.values() ?? [])]
    .sort(
      (a, b) => TIERS.indexOf(a.tier) - TIERS.indexOf(b.tier) || a.priority - b.priority || (a.name < b.name ? -1 : 1),
    )
    .map((policy) => ({ ...tierFactsOf(policy, snapshot), yaml: yamlOf(written.get(clusterKey(policy))) }));
  return [...ofAll, ...own];
}

/** Of the whole cluster: no namespace has an empty name. */
function clusterKey({ name }: { readonly name: string }): string {
  return objectKey({ namespace: '', name });
}

function factsOf(policy: Policy, { pods, namespaces, problems }: ClusterSnapshot): object {
  const { namespace, name, podSelector, isolates, ingress, egress } = policy;
  const selected = [...pods.values()].filter((pod) => pod.namespace === namespace && matches(podSelector, pod.labels));
  return {
    namespace,
    name,
    pods: selected.length,
    mode: isAudited(policy, namespaces.get(namespace)) ? 'audit' : 'enforce',
    ...(isolates.ingress ? { ingress: ingress.length } : {}),
    ...(isolates.egress ? { egress: egress.length } : {}),
    problems: problemsOf(problems, namespace, name),
  };
}

/** In the order in which they are asked (N-61). */
function tierFactsOf(policy: ClusterPolicy, snapshot: ClusterSnapshot): object {
  const { name, tier, priority, ingress, egress } = policy;
  const subjects = [...snapshot.pods.values()].filter(
    (pod) => isEligible(pod) && isSubjectOf(snapshot, policy, pod) !== 'no',
  );
  return {
    namespace: '',
    name,
    tier,
    priority,
    pods: subjects.length,
    mode: 'enforce',
    ...(ingress.length > 0 ? { ingress: ingress.length } : {}),
    ...(egress.length > 0 ? { egress: egress.length } : {}),
    problems: problemsOf(snapshot.problems, '', name),
  };
}

function problemsOf(problems: readonly Problem[], namespace: string, name: string): readonly string[] {
  const kind = namespace === '' ? 'ClusterNetworkPolicy' : 'NetworkPolicy';
  return problems
    .filter(({ object }) => object.kind === kind && (object.namespace ?? '') === namespace && object.name === name)
    .map(problemText);
}

function rawPolicy({ object }: ManifestObject, defaultNamespace: string): readonly RawRecord[] {
  if (isClusterPolicy(object)) return [object];
  const raw = withNamespace(object, defaultNamespace);
  return isRecord(raw) && raw.kind === 'NetworkPolicy' ? [raw] : [];
}

function isClusterPolicy(object: unknown): object is RawRecord {
  return isRecord(object) && object.kind === 'ClusterNetworkPolicy' && object.apiVersion === CLUSTER_POLICY_VERSION;
}

function keyOf(raw: RawRecord): string {
  const { metadata } = raw;
  if (!isRecord(metadata)) return '';
  return isClusterPolicy(raw)
    ? clusterKey({ name: String(metadata.name) })
    : `${String(metadata.namespace)}/${String(metadata.name)}`;
}

/** As somebody would write it: without what the API server adds. */
function yamlOf(raw: RawRecord | undefined): string {
  if (!raw) return '';
  const { namespace, name, labels, annotations } = raw.metadata as RawRecord;
  const own = Object.entries(isRecord(annotations) ? annotations : {}).filter(
    ([key]) => key !== 'kubectl.kubernetes.io/last-applied-configuration',
  );
  const metadata = { namespace, name, labels, annotations: own.length > 0 ? Object.fromEntries(own) : undefined };
  const apiVersion = isClusterPolicy(raw) ? CLUSTER_POLICY_VERSION : 'networking.k8s.io/v1';
  return stringify({ apiVersion, kind: raw.kind, metadata, spec: raw.spec });
}

interface Edit {
  /** Policies in the place of those of their names. */
  readonly yaml: string;
  /** `namespace/name` of one that is taken away; `/name` of a cluster-wide one. */
  readonly without: string;
}

/** Who may reach whom before and after an edit; `problems`: what is wrong with it. */
export function whatIf(inventory: Inventory, source: ObjectSource, body: string): object {
  const { yaml, without } = JSON.parse(body) as Edit;
  const { objects, problems, warnings } = parseManifests(yaml, 'edit');
  const policies = objects.flatMap((from) => rawPolicy(from, source.namespace));
  const parsed = policies.flatMap(
    (raw) => (isClusterPolicy(raw) ? parseClusterPolicy(raw) : parsePolicy(raw)).problems,
  );
  const wrong = [...problems, ...warnings, ...parsed].map(fieldText);
  if (policies.length < objects.length) wrong.push('only NetworkPolicy and ClusterNetworkPolicy objects are looked at');
  if (problems.length > 0) return { problems: wrong };
  const gone = new Set([...policies.map(keyOf), ...(without === '' ? [] : [without])]);
  const kept = inventory.objects.filter((from) =>
    rawPolicy(from, source.namespace).every((raw) => !gone.has(keyOf(raw))),
  );
  const edited = policies.map((object): ManifestObject => ({ object, file: 'edit', line: 1 }));
  const options = { defaultNamespace: source.namespace, podCidr: source.podCidr };
  const after = inventoryOf([...kept, ...edited], options);
  return { problems: wrong, matrix: dataOf([inventory, after], 'What would change') };
}

function fieldText({ field, message }: Problem): string {
  return field === '' ? message : `${field}: ${message}`;
}
