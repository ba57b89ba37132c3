/** What the page shows of objects: policies, the matrix, and the matrix beside that with an edited policy. */
import { stringify } from 'yaml';
import type { Inventory } from '../../cluster/inventory.ts';
import type { ManifestObject } from '../../cluster/read-manifests.ts';
import type { ClusterSnapshot, Policy, Problem } from '../../policy/model.ts';
import type { ObjectSource } from '../source/options.ts';

import { inventoryOf } from '../../cluster/inventory.ts';
import { parseManifests, withNamespace } from '../../cluster/read-manifests.ts';
import { objectKey } from '../../policy/model.ts';
import { parsePolicy } from '../../policy/parse.ts';
import { isAudited } from '../../policy/policy-mode.ts';
import { isRecord, type RawRecord } from '../../policy/raw-values.ts';
import { matches } from '../../policy/selector.ts';
import { problemText } from '../../telemetry/problem-log.ts';
import { summaryOf } from '../matrix/text.ts';
import { viewOf } from '../matrix/view.ts';
import { pageData } from '../page/page-data.ts';
import { withNotJudged } from '../source/not-judged.ts';

const WHOLE = { from: [], to: [], ports: [], group: undefined, enforcesAudited: false } as const;

export function matrixOf(inventory: Inventory): object {
  return dataOf([inventory], '');
}

function dataOf(inventories: readonly Inventory[], title: string): object {
  const view = viewOf(inventories, WHOLE);
  return pageData(view, title, withNotJudged(summaryOf(view), inventories));
}

export function policiesOf({ objects, snapshot }: Inventory, { namespace }: ObjectSource): readonly object[] {
  const written = new Map(objects.flatMap((from) => rawPolicy(from, namespace)).map((raw) => [keyOf(raw), raw]));
  return [...snapshot.policies.values()]
    .sort((a, b) => (objectKey(a) < objectKey(b) ? -1 : 1))
    .map((policy) => ({ ...factsOf(policy, snapshot), yaml: yamlOf(written.get(objectKey(policy))) }));
}

function factsOf(policy: Policy, { pods, namespaces, problems }: ClusterSnapshot): object {
  const { namespace, name, podSelector, isolates, ingress, egress } = policy;
  const selected = [...pods.values()].filter((pod) => pod.namespace === namespace && matches(podSelector, pod.labels));
  const own = problems.filter(({ object }) => object.namespace === namespace && object.name === name);
  return {
    namespace,
    name,
    pods: selected.length,
    mode: isAudited(policy, namespaces.get(namespace)) ? 'audit' : 'enforce',
    ...(isolates.ingress ? { ingress: ingress.length } : {}),
    ...(isolates.egress ? { egress: egress.length } : {}),
    problems: own.map(problemText),
  };
}

function rawPolicy({ object }: ManifestObject, defaultNamespace: string): readonly RawRecord[] {
  const raw = withNamespace(object, defaultNamespace);
  return isRecord(raw) && raw.kind === 'NetworkPolicy' ? [raw] : [];
}

function keyOf({ metadata }: RawRecord): string {
  return isRecord(metadata) ? `${String(metadata.namespace)}/${String(metadata.name)}` : '';
}

/** As somebody would write it: without what the API server adds. */
function yamlOf(raw: RawRecord | undefined): string {
  if (!raw) return '';
  const { namespace, name, labels, annotations } = raw.metadata as RawRecord;
  const own = Object.entries(isRecord(annotations) ? annotations : {}).filter(
    ([key]) => key !== 'kubectl.kubernetes.io/last-applied-configuration',
  );
  const metadata = { namespace, name, labels, annotations: own.length > 0 ? Object.fromEntries(own) : undefined };
  return stringify({ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata, spec: raw.spec });
}

interface Edit {
  /** Policies in the place of those of their names. */
  readonly yaml: string;
  /** `namespace/name` of one that is taken away. */
  readonly without: string;
}

/** Who may reach whom before and after an edit; `problems`: what is wrong with it. */
export function whatIf(inventory: Inventory, source: ObjectSource, body: string): object {
  const { yaml, without } = JSON.parse(body) as Edit;
  const { objects, problems, warnings } = parseManifests(yaml, 'edit');
  const policies = objects.flatMap((from) => rawPolicy(from, source.namespace));
  const wrong = [...problems, ...warnings, ...policies.flatMap((raw) => parsePolicy(raw).problems)].map(fieldText);
  if (policies.length < objects.length) wrong.push('only NetworkPolicy objects are looked at');
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
