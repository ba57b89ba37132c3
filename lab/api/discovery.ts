/** What clients ask before they ask for objects: groups, resources, versions, and an OpenAPI document. Pure. */
import { apiVersionOf, RESOURCES, type ResourceInfo } from './resources.ts';

const VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];
const SUBRESOURCE_VERBS = { status: ['get', 'patch', 'update'], scale: ['get', 'patch', 'update'] };
const CREATE_ONLY = ['create'];
const GET_ONLY = ['get'];

interface SubresourceKind {
  readonly kind: string;
  readonly group: string;
  readonly version: string;
}

function subresourceKind(info: ResourceInfo, name: string): SubresourceKind {
  if (name === 'scale') return { kind: 'Scale', group: 'autoscaling', version: 'v1' };
  if (name === 'binding') return { kind: 'Binding', group: '', version: 'v1' };
  if (name === 'eviction') return { kind: 'Eviction', group: 'policy', version: 'v1' };
  return { kind: info.kind, group: info.group, version: info.version };
}

const subresourceVerbs = (name: string): readonly string[] =>
  name === 'status' || name === 'scale'
    ? SUBRESOURCE_VERBS[name]
    : name === 'finalize'
      ? ['update']
      : name === 'log' || name === 'proxy'
        ? GET_ONLY
        : CREATE_ONLY;

/** The group and versions of one API group, in the order of the resource table. */
export function groups(): readonly { readonly name: string; readonly version: string }[] {
  const seen = new Map(RESOURCES.map((info) => [info.group, info.version]));
  return [...seen, ['authorization.k8s.io', 'v1'] as const].map(([name, version]) => ({ name, version }));
}

const resourcesOf = (group: string): readonly ResourceInfo[] => RESOURCES.filter((info) => info.group === group);

export function apiVersions(): object {
  return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] };
}

const apiGroup = ({ name, version }: { name: string; version: string }): object => {
  const preferredVersion = { groupVersion: `${name}/${version}`, version };
  return { name, versions: [preferredVersion], preferredVersion };
};

export function apiGroupList(): object {
  const named = groups().filter((group) => group.name !== '');
  return { kind: 'APIGroupList', apiVersion: 'v1', groups: named.map(apiGroup) };
}

export function apiGroupDocument(name: string): object | undefined {
  const group = groups().find((candidate) => candidate.name === name && name !== '');
  return group && { kind: 'APIGroup', apiVersion: 'v1', ...apiGroup(group) };
}

const SELF_REVIEW = {
  name: 'selfsubjectaccessreviews',
  singularName: 'selfsubjectaccessreview',
  namespaced: false,
  kind: 'SelfSubjectAccessReview',
  verbs: CREATE_ONLY,
};

/** The resources of one group version, or undefined if there is no such group version. */
export function apiResourceList(group: string, version: string): object | undefined {
  if (!groups().some((candidate) => candidate.name === group && candidate.version === version)) return undefined;
  const resources = resourcesOf(group).flatMap((info) => [
    {
      name: info.plural,
      singularName: info.singular,
      namespaced: info.namespaced,
      kind: info.kind,
      verbs: VERBS,
      ...(info.shortNames.length > 0 ? { shortNames: info.shortNames } : {}),
      ...(info.categories.length > 0 ? { categories: info.categories } : {}),
    },
    ...info.subresources.map((name) => ({
      name: `${info.plural}/${name}`,
      singularName: '',
      namespaced: info.namespaced,
      ...subresourceKind(info, name),
      verbs: subresourceVerbs(name),
    })),
  ]);
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: apiVersionOf({ group, version }),
    resources: group === 'authorization.k8s.io' ? [SELF_REVIEW] : resources,
  };
}

export const AGGREGATED_TYPE = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';

/** Everything under /api (`legacy`) or under /apis, in one document. */
export function aggregatedDiscovery(legacy: boolean): object {
  const items = groups()
    .filter((group) => (group.name === '') === legacy)
    .map((group) => ({
      metadata: { name: group.name, creationTimestamp: null },
      versions: [
        {
          version: group.version,
          freshness: 'Current',
          resources:
            group.name === 'authorization.k8s.io' ? [aggregatedReview()] : resourcesOf(group.name).map(aggregated),
        },
      ],
    }));
  return { kind: 'APIGroupDiscoveryList', apiVersion: 'apidiscovery.k8s.io/v2', metadata: {}, items };
}

function aggregatedReview(): object {
  return {
    resource: SELF_REVIEW.name,
    responseKind: { group: 'authorization.k8s.io', version: 'v1', kind: SELF_REVIEW.kind },
    scope: 'Cluster',
    singularResource: SELF_REVIEW.singularName,
    verbs: SELF_REVIEW.verbs,
  };
}

function aggregated(info: ResourceInfo): object {
  const subresources = info.subresources.map((subresource) => ({
    subresource,
    responseKind: subresourceKind(info, subresource),
    verbs: subresourceVerbs(subresource),
  }));
  return {
    resource: info.plural,
    responseKind: { group: info.group, version: info.version, kind: info.kind },
    scope: info.namespaced ? 'Namespaced' : 'Cluster',
    singularResource: info.singular,
    verbs: VERBS,
    ...(info.shortNames.length > 0 ? { shortNames: info.shortNames } : {}),
    ...(info.categories.length > 0 ? { categories: info.categories } : {}),
    ...(subresources.length > 0 ? { subresources } : {}),
  };
}

/** The version this server's behaviour follows. */
export const SERVER_VERSION = 'v1.32.0';

export function versionDocument(): object {
  return {
    major: '1',
    minor: '32',
    gitVersion: `${SERVER_VERSION}+portcullis-lab`,
    gitCommit: '',
    gitTreeState: 'clean',
    buildDate: '1970-01-01T00:00:00Z',
    goVersion: 'none',
    compiler: 'none',
    platform: `${process.platform}/${process.arch === 'x64' ? 'amd64' : process.arch}`,
  };
}

const groupPath = (group: string, version: string): string =>
  group === '' ? `api/${version}` : `apis/${group}/${version}`;

/** The index of /openapi/v3. */
export function openApiIndex(): object {
  const paths = groups().map(({ name, version }) => {
    const path = groupPath(name, version);
    return [path, { serverRelativeURL: `/openapi/v3/${path}` }];
  });
  return { paths: Object.fromEntries(paths) };
}

/**
 * OpenAPI of one group version: what kubectl looks up to learn that the server validates fields itself.
 * It names no patch types, so kubectl computes strategic merge patches from the types built into it.
 */
export function openApiDocument(group: string, version: string): object | undefined {
  if (!groups().some((candidate) => candidate.name === group && candidate.version === version)) return undefined;
  return {
    openapi: '3.0.0',
    info: { title: 'Portcullis lab', version: SERVER_VERSION },
    paths: Object.fromEntries(resourcesOf(group).map(openApiPath)),
    components: { schemas: {} },
  };
}

function openApiPath(info: ResourceInfo): [string, object] {
  const query = (name: string): object => ({ name, in: 'query', schema: { type: 'string', uniqueItems: true } });
  const place = info.namespaced ? 'namespaces/{namespace}/' : '';
  const patch = {
    operationId: `patch${info.kind}`,
    parameters: ['dryRun', 'fieldManager', 'fieldValidation'].map(query),
    responses: { '200': { description: 'OK' } },
    'x-kubernetes-action': 'patch',
    'x-kubernetes-group-version-kind': { group: info.group, version: info.version, kind: info.kind },
  };
  return [`/${groupPath(info.group, info.version)}/${place}${info.plural}/{name}`, { patch }];
}
