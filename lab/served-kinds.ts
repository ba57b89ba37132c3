/** Which manifests the lab's API server can take; of the others, which are a mistake and which are just nothing for the lab. Pure. */
import type { ResourceInfo } from './api/resources.ts';

import { apiVersionOf, RESOURCES } from './api/resources.ts';

export type ServedKind =
  | { readonly kind: 'served'; readonly info: ResourceInfo }
  /** A cluster would refuse it, too. */
  | { readonly kind: 'wrong'; readonly message: string }
  | { readonly kind: 'skipped'; readonly message: string };

/** Groups of Kubernetes itself: what they once served under another name or version is an error, not somebody's own resource. */
const BUILT_IN_GROUPS: ReadonlySet<string> = new Set([
  ...RESOURCES.map(({ group }) => group),
  'extensions',
  'policy',
  'autoscaling',
]);

/** Policies of others, which decide on packets in a cluster that has them. */
const OTHER_POLICY = /policy$/i;

export function servedKind(apiVersion: string, kind: string): ServedKind {
  const same = RESOURCES.filter((info) => info.kind === kind);
  const info = same.find((candidate) => apiVersionOf(candidate) === apiVersion);
  if (info) return { kind: 'served', info };
  const slash = apiVersion.indexOf('/');
  const group = slash < 0 ? '' : apiVersion.slice(0, slash);
  const [right] = same;
  if (right && BUILT_IN_GROUPS.has(group)) return { kind: 'wrong', message: wrongVersion(apiVersion, right) };
  const meant = RESOURCES.find((candidate) => isMeant(candidate, apiVersion, kind));
  if (meant) return { kind: 'wrong', message: `kind: no such kind in ${apiVersion}; did you mean ${meant.kind}?` };
  return { kind: 'skipped', message: whySkipped(kind) };
}

function wrongVersion(apiVersion: string, { kind, group, version }: ResourceInfo): string {
  const right = apiVersionOf({ group, version });
  const gone = apiVersion.startsWith('extensions/') ? ' since Kubernetes 1.16' : '';
  const same = kind === 'NetworkPolicy' ? ', the fields are the same' : '';
  return `apiVersion: no cluster serves ${kind} as ${apiVersion}${gone}: write ${right}${same}`;
}

/** `networkpolicy`, `NetworkPolicies`: a cluster knows neither. */
function isMeant(info: ResourceInfo, apiVersion: string, kind: string): boolean {
  const low = kind.toLowerCase();
  return apiVersionOf(info) === apiVersion && (low === info.singular || low === info.plural);
}

function whySkipped(kind: string): string {
  if (OTHER_POLICY.test(kind) && /network/i.test(kind))
    return 'enforced by others than Portcullis, which knows NetworkPolicy of networking.k8s.io/v1: it counts for nothing here';
  return 'the lab has no use for this kind';
}
