/** Label and field selectors as written in list and watch requests. Pure. */
import { badRequest } from './errors.ts';
import { isObject, textOf } from './json.ts';
import type { ApiObject, Labels, LabelSelector, ResourceName } from './objects.ts';

export type Matcher = (object: ApiObject) => boolean;

type LabelTerm =
  | { readonly kind: 'exists' | 'absent'; readonly key: string }
  | { readonly kind: 'in' | 'not-in'; readonly key: string; readonly values: ReadonlySet<string> };

const KEY = /^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$/;
const SET_TERM = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/;
const EQUALITY_TERM = /^([^\s=!]+)\s*(==|=|!=)\s*(\S*)$/;

/** Parses `app=a,tier in (x,y),!canary`. Throws 400 naming the part that cannot be read. */
export function parseLabelSelector(text: string): (labels: Labels) => boolean {
  const terms = splitTerms(text).map(parseLabelTerm);
  return (labels) => terms.every((term) => labelTermMatches(term, labels));
}

/** Splits at commas outside of parentheses. */
function splitTerms(text: string): string[] {
  const terms = text.match(/[^,(]*(?:\([^)]*\)?)?[^,]*/g) ?? [];
  return terms.map((term) => term.trim()).filter((term) => term !== '');
}

function parseLabelTerm(term: string): LabelTerm {
  const set = SET_TERM.exec(term);
  if (set) {
    const values = new Set((set[3] ?? '').split(',').map((value) => value.trim()));
    return { kind: set[2] === 'in' ? 'in' : 'not-in', key: checkedKey(set[1] ?? '', term), values };
  }
  const equality = EQUALITY_TERM.exec(term);
  if (equality) {
    const kind = equality[2] === '!=' ? 'not-in' : 'in';
    return { kind, key: checkedKey(equality[1] ?? '', term), values: new Set([equality[3] ?? '']) };
  }
  if (term.startsWith('!')) return { kind: 'absent', key: checkedKey(term.slice(1).trim(), term) };
  return { kind: 'exists', key: checkedKey(term, term) };
}

function checkedKey(key: string, term: string): string {
  if (!KEY.test(key)) throw badRequest(`unable to parse label selector: ${JSON.stringify(term)} is no requirement`);
  return key;
}

function labelTermMatches(term: LabelTerm, labels: Labels): boolean {
  const value = Object.hasOwn(labels, term.key) ? labels[term.key] : undefined;
  switch (term.kind) {
    case 'exists':
      return value !== undefined;
    case 'absent':
      return value === undefined;
    case 'in':
      return value !== undefined && term.values.has(value);
    case 'not-in':
      return value === undefined || !term.values.has(value);
  }
}

/** A selector as written inside an object, for example in a Deployment. An unknown operator matches nothing. */
export function selectorMatches(selector: LabelSelector, labels: Labels): boolean {
  const exact = Object.entries(selector.matchLabels ?? {}).every(([key, value]) => labels[key] === value);
  return exact && (selector.matchExpressions ?? []).every((term) => expressionMatches(term, labels));
}

function expressionMatches(term: NonNullable<LabelSelector['matchExpressions']>[number], labels: Labels): boolean {
  const present = Object.hasOwn(labels, term.key);
  const listed = present && (term.values ?? []).includes(labels[term.key] ?? '');
  switch (term.operator) {
    case 'In':
      return listed;
    case 'NotIn':
      return !listed;
    case 'Exists':
      return present;
    case 'DoesNotExist':
      return !present;
    default:
      return false;
  }
}

const FIELDS: Readonly<Partial<Record<ResourceName, readonly string[]>>> = {
  pods: [
    'spec.nodeName',
    'spec.restartPolicy',
    'spec.schedulerName',
    'spec.serviceAccountName',
    'spec.hostNetwork',
    'status.phase',
    'status.podIP',
    'status.nominatedNodeName',
  ],
  nodes: ['spec.unschedulable'],
  namespaces: ['status.phase'],
  services: ['spec.clusterIP', 'spec.type'],
  secrets: ['type'],
  replicasets: ['status.replicas'],
  jobs: ['status.successful'],
  events: [
    'involvedObject.kind',
    'involvedObject.namespace',
    'involvedObject.name',
    'involvedObject.uid',
    'involvedObject.apiVersion',
    'involvedObject.resourceVersion',
    'involvedObject.fieldPath',
    'reason',
    'reportingComponent',
    'source',
    'type',
  ],
};

interface FieldTerm {
  readonly path: readonly string[];
  readonly equal: boolean;
  readonly value: string;
}

/** Parses `spec.nodeName=n,status.phase!=Failed`. Throws 400 on a field the resource cannot be selected by. */
export function parseFieldSelector(resource: ResourceName, text: string): (object: ApiObject) => boolean {
  const terms = text
    .split(',')
    .filter((term) => term !== '')
    .map((term) => parseFieldTerm(resource, term));
  return (object) => terms.every((term) => (fieldText(object, term.path) === term.value) === term.equal);
}

function parseFieldTerm(resource: ResourceName, term: string): FieldTerm {
  const match = /^([^=!]+)(==|=|!=)(.*)$/.exec(term);
  if (!match) throw badRequest(`invalid selector: ${JSON.stringify(term)}; expected field=value or field!=value`);
  const field = (match[1] ?? '').trim();
  const known = ['metadata.name', 'metadata.namespace', ...(FIELDS[resource] ?? [])];
  if (!known.includes(field)) throw badRequest(`field label not supported: ${field}`);
  const path = field === 'source' ? ['source', 'component'] : field.split('.');
  return { path, equal: match[2] !== '!=', value: match[3] ?? '' };
}

function fieldText(object: ApiObject, path: readonly string[]): string {
  let value: unknown = object;
  for (const field of path) value = isObject(value) ? value[field] : undefined;
  // A boolean nobody wrote reads as false, as the API's own types have it.
  if (value === undefined && path[1] === 'unschedulable') return 'false';
  if (value === undefined && path[1] === 'hostNetwork') return 'false';
  return value === undefined || value === null ? '' : textOf(value);
}

/** Both selectors as one test; `undefined` when everything matches. */
export function parseSelectors(
  resource: ResourceName,
  labelSelector: string | null | undefined,
  fieldSelector: string | null | undefined,
): Matcher | undefined {
  const byLabels = labelSelector ? parseLabelSelector(labelSelector) : undefined;
  const byFields = fieldSelector ? parseFieldSelector(resource, fieldSelector) : undefined;
  if (!byLabels && !byFields) return undefined;
  return (object) => (byLabels?.(object.metadata.labels ?? {}) ?? true) && (byFields?.(object) ?? true);
}
