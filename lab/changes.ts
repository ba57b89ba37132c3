/** What happened to the cluster, in words, for a lab that others change while it runs. Pure. */
import type { Labels, ResourceName } from './api/objects.ts';
import type { StoredEvent } from './api/storage.ts';

/** Kinds that decide where packets may go. */
const MATTERS: ReadonlySet<ResourceName> = new Set([
  'namespaces',
  'pods',
  'networkpolicies',
  'clusternetworkpolicies',
  'nodes',
]);
/** Kinds that people write and whose change explains the ones above. */
const WRITTEN: ReadonlySet<ResourceName> = new Set(['deployments', 'daemonsets', 'statefulsets', 'jobs', 'services']);

/** Whether packets may go elsewhere after it. */
export function concernsPackets(resource: ResourceName): boolean {
  return MATTERS.has(resource);
}

/**
 * `created pod shop/web`, `labels of pod shop/web: +tier=web -old`; undefined for what controllers do by themselves: status,
 * bookkeeping.
 */
export function describeChange(resource: ResourceName, event: StoredEvent): string | undefined {
  if (!MATTERS.has(resource) && !WRITTEN.has(resource)) return undefined;
  const { kind, metadata } = event.object;
  const name = metadata.namespace === undefined ? metadata.name : `${metadata.namespace}/${metadata.name}`;
  const what = `${kind ?? resource} ${name}`;
  switch (event.type) {
    case 'ADDED':
      return `created ${what}`;
    case 'DELETED':
      return `deleted ${what}`;
    case 'MODIFIED':
      return describeUpdate(what, event);
  }
}

function describeUpdate(what: string, { object, previous }: StoredEvent): string | undefined {
  const labels = labelChanges(previous?.metadata.labels ?? {}, object.metadata.labels ?? {});
  if (labels !== '') return `labels of ${what}: ${labels}`;
  const [now, before] = [object.metadata.annotations, previous?.metadata.annotations];
  const annotations = labelChanges(own(before), own(now));
  if (annotations !== '') return `annotations of ${what}: ${annotations}`;
  const { generation } = object.metadata;
  return generation !== undefined && generation !== previous?.metadata.generation ? `changed ${what}` : undefined;
}

/** Without what kubectl and controllers note for themselves. */
function own(annotations: Labels = {}): Labels {
  return Object.fromEntries(Object.entries(annotations).filter(([key]) => !key.includes('kubernetes.io/')));
}

function labelChanges(before: Labels, after: Labels): string {
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  return keys
    .filter((key) => before[key] !== after[key])
    .map((key) => (after[key] === undefined ? `-${key}` : `+${key}=${after[key]}`))
    .join(' ');
}
