/** What the schema of ClusterNetworkPolicy's CRD asks beyond types (N-10 to N-33). Pure. */
import { parseCidr } from './cidr-rules.ts';
import { type Cause, cause } from './errors.ts';
import { isObject, textOf } from './json.ts';
import type { PolicyChannel } from './schemas.ts';

type Fields = Record<string, unknown>;

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const fieldsOf = (value: unknown): Fields => (isObject(value) ? value : {});

const TIERS = ['Admin', 'Baseline'];
const ACTIONS = ['Accept', 'Deny', 'Pass'];
const MAX_PRIORITY = 1000;
const MAX_ENTRIES = 25;
const MAX_NAME = 100;
const MAX_CIDR = 43;
const MAX_PORT = 65535;
const DOMAIN_NAME = /^(\*\.)?([a-zA-Z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.)+[a-zA-Z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.?$/;

export function validateClusterPolicy(policy: Fields, channel: PolicyChannel = 'experimental'): Cause[] {
  const { tier, priority, subject, ingress, egress } = fieldsOf(policy.spec);
  return [
    ...oneOf('spec.tier', tier, TIERS),
    ...inRange('spec.priority', priority, 0, MAX_PRIORITY),
    ...onlyOne('spec.subject', subject),
    ...rules('spec.ingress', ingress, 'from', channel),
    ...rules('spec.egress', egress, 'to', channel),
  ];
}

function rules(field: string, given: unknown, peers: 'from' | 'to', channel: PolicyChannel): Cause[] {
  const checked = listOf(given).flatMap((rule, index) => {
    const at = `${field}[${index}]`;
    const own = fieldsOf(rule);
    // N-33: only the experimental channel looks at that.
    return [...checkRule(at, own, peers), ...(channel === 'experimental' ? checkNamedPorts(at, own, peers) : [])];
  });
  return [...atMost(field, given), ...checked];
}

function checkRule(field: string, { name, action, protocols, ...rule }: Fields, peersField: 'from' | 'to'): Cause[] {
  const peers = rule[peersField];
  const causes = [
    ...oneOf(`${field}.action`, action, ACTIONS),
    ...entries(`${field}.${peersField}`, peers),
    ...(protocols === undefined ? [] : entries(`${field}.protocols`, protocols)),
    ...listOf(peers).flatMap((peer, at) => checkPeer(`${field}.${peersField}[${at}]`, fieldsOf(peer))),
    ...listOf(protocols).flatMap((entry, at) => checkProtocol(`${field}.protocols[${at}]`, fieldsOf(entry))),
  ];
  if (textOf(name).length > MAX_NAME)
    causes.push(cause.invalid(`${field}.name`, name, `may not be more than ${MAX_NAME} bytes`));
  return causes;
}

/** N-33. */
function checkNamedPorts(field: string, { protocols, ...rule }: Fields, peersField: 'from' | 'to'): Cause[] {
  const peers = rule[peersField];
  const isNamed = listOf(protocols).some((entry) => 'destinationNamedPort' in fieldsOf(entry));
  const isOutside = listOf(peers).some((peer) =>
    ['networks', 'nodes', 'domainNames'].some((kind) => kind in fieldsOf(peer)),
  );
  if (!isNamed || !isOutside) return [];
  return [
    cause.invalid(
      field,
      'object',
      'networks/nodes/domainNames peer cannot be set with a namedPorts since there are no namedPorts for networks/nodes/domainNames',
    ),
  ];
}

function checkPeer(field: string, peer: Fields): Cause[] {
  const { networks, domainNames } = peer;
  return [
    ...onlyOne(field, peer),
    ...(domainNames === undefined ? [] : checkNames(`${field}.domainNames`, domainNames)),
    ...(networks === undefined ? [] : uniqueEntries(`${field}.networks`, networks)),
    ...listOf(networks).flatMap((cidr, at) => {
      const text = textOf(cidr);
      const isCidr = text.length <= MAX_CIDR && parseCidr(text) !== undefined;
      return isCidr ? [] : [cause.invalid(`${field}.networks[${at}]`, cidr, 'Invalid CIDR format provided')];
    }),
  ];
}

/** N-24. */
function checkNames(field: string, names: unknown): Cause[] {
  const odd = listOf(names).flatMap((name, at) => {
    const place = `${field}[${at}]`;
    return DOMAIN_NAME.test(textOf(name))
      ? []
      : [cause.invalid(place, name, `${place} in body should match '${DOMAIN_NAME.source}'`)];
  });
  return [...uniqueEntries(field, names), ...odd];
}

function checkProtocol(field: string, entry: Fields): Cause[] {
  return [
    ...onlyOne(field, entry),
    ...['tcp', 'udp', 'sctp'].flatMap((name) => {
      if (entry[name] === undefined) return [];
      const { destinationPort } = fieldsOf(entry[name]);
      const at = `${field}.${name}.destinationPort`;
      // N-26: the API server takes no protocol without one today.
      if (destinationPort === undefined)
        return [cause.invalid(`${field}.${name}`, 0, `${field}.${name} in body should have at least 1 properties`)];
      return [...onlyOne(at, destinationPort), ...checkPorts(at, fieldsOf(destinationPort))];
    }),
  ];
}

function checkPorts(field: string, { number, range }: Fields): Cause[] {
  if (number !== undefined) return inRange(`${field}.number`, number, 1, MAX_PORT);
  const { start, end } = fieldsOf(range);
  if (range === undefined) return [];
  const causes = [
    ...inRange(`${field}.range.start`, start, 1, MAX_PORT),
    ...inRange(`${field}.range.end`, end, 1, MAX_PORT),
  ];
  if (causes.length === 0 && Number(start) >= Number(end))
    causes.push(cause.invalid(`${field}.range`, 'object', 'Start port must be less than End port'));
  return causes;
}

function oneOf(field: string, value: unknown, known: readonly string[]): Cause[] {
  return value === undefined || known.includes(textOf(value)) ? [] : [cause.notSupported(field, value, known)];
}

function inRange(field: string, value: unknown, least: number, most: number): Cause[] {
  if (typeof value !== 'number') return [];
  if (value < least)
    return [cause.invalid(field, value, `${field} in body should be greater than or equal to ${least}`)];
  return value > most ? [cause.invalid(field, value, `${field} in body should be less than or equal to ${most}`)] : [];
}

/** minProperties and maxProperties of 1. */
function onlyOne(field: string, value: unknown): Cause[] {
  const count = Object.keys(fieldsOf(value)).length;
  if (value === undefined || count === 1) return [];
  const what = count === 0 ? 'at least 1 properties' : 'at most 1 properties';
  return [cause.invalid(field, count, `${field} in body should have ${what}`)];
}

/** Of a list that is a set. */
function uniqueEntries(field: string, value: unknown): Cause[] {
  const all = listOf(value);
  const twice = all.flatMap((entry, at) =>
    all.indexOf(entry) < at ? [cause.duplicate(`${field}[${at}]`, entry)] : [],
  );
  return [...entries(field, value), ...twice];
}

function entries(field: string, value: unknown): Cause[] {
  if (Array.isArray(value) && value.length === 0)
    return [cause.invalid(field, 0, `${field} in body should have at least 1 items`)];
  return atMost(field, value);
}

function atMost(field: string, value: unknown): Cause[] {
  const count = listOf(value).length;
  return count > MAX_ENTRIES ? [cause.invalid(field, count, `must have at most ${MAX_ENTRIES} items`)] : [];
}
