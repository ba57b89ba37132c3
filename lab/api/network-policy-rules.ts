/** Defaults and validation of NetworkPolicy (networking.k8s.io/v1). S-numbers refer to the semantics specification. Pure. */
import { type CidrOddity, isStrictSubset, type ParsedCidr, parseCidr } from './cidr-rules.ts';
import { type Cause, cause } from './errors.ts';
import { check, checkLabelSelector, checkPortNumber, checkProtocol, portName } from './field-rules.ts';
import { isObject, textOf } from './json.ts';

type Fields = Record<string, unknown>;

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const fieldsOf = (value: unknown): Fields => (isObject(value) ? value : {});

/** Fills policyTypes (S-12) and port protocols (S-34) in place. Expects a decoded object. */
export function defaultNetworkPolicy(policy: Fields): void {
  const spec = policy.spec;
  if (!isObject(spec)) return;
  if (listOf(spec.policyTypes).length === 0) {
    spec.policyTypes = listOf(spec.egress).length > 0 ? ['Ingress', 'Egress'] : ['Ingress'];
  }
  for (const rule of [...listOf(spec.ingress), ...listOf(spec.egress)]) {
    for (const port of listOf(fieldsOf(rule).ports)) if (isObject(port)) port.protocol ??= 'TCP';
  }
}

/** Everything wrong with the spec; `warn` is told of what is accepted but should not be written (S-29, S-31). */
export function validateNetworkPolicy(policy: Fields, warn: (text: string) => void): Cause[] {
  const spec = fieldsOf(policy.spec);
  const rules = (direction: 'ingress' | 'egress', peers: 'from' | 'to'): Cause[] =>
    listOf(spec[direction]).flatMap((rule, index) => {
      const field = `spec.${direction}[${index}]`;
      const { ports, [peers]: entries } = fieldsOf(rule);
      return [
        ...listOf(ports).flatMap((port, at) => checkPort(`${field}.ports[${at}]`, fieldsOf(port))),
        ...listOf(entries).flatMap((peer, at) => checkPeer(`${field}.${peers}[${at}]`, fieldsOf(peer), warn)),
      ];
    });
  return [
    ...checkLabelSelector('spec.podSelector', spec.podSelector),
    ...rules('ingress', 'from'),
    ...rules('egress', 'to'),
    ...checkPolicyTypes(listOf(spec.policyTypes)),
  ];
}

const POLICY_TYPES = ['Egress', 'Ingress'];

/** S-11 and S-48: duplicates are fine as long as there are no more than two entries. */
function checkPolicyTypes(types: readonly unknown[]): Cause[] {
  if (types.length > 2) {
    return [cause.invalid('spec.policyTypes', types, 'may not have more than two entries')];
  }
  return types.flatMap((type, index) =>
    POLICY_TYPES.includes(textOf(type)) ? [] : [cause.notSupported(`spec.policyTypes[${index}]`, type, POLICY_TYPES)],
  );
}

/** S-34, S-36, S-37, S-39, S-48. */
function checkPort(field: string, entry: Fields): Cause[] {
  const { protocol, port, endPort } = entry;
  const causes = protocol === undefined ? [] : checkProtocol(`${field}.protocol`, protocol);
  if (typeof port === 'string') causes.push(...check(`${field}.port`, port, portName));
  else if (port !== undefined) causes.push(...checkPortNumber(`${field}.port`, port));
  if (endPort === undefined) return causes;
  const endField = `${field}.endPort`;
  if (port === undefined) {
    causes.push(cause.invalid(endField, endPort, 'may not be specified when `port` is not specified'));
  } else if (typeof port === 'string') {
    causes.push(cause.invalid(endField, endPort, 'may not be specified when `port` is a name'));
  } else if (typeof port === 'number' && typeof endPort === 'number' && endPort < port) {
    causes.push(cause.invalid(endField, endPort, 'must be greater than or equal to `port`'));
  }
  return [...causes, ...checkPortNumber(endField, endPort)];
}

/** S-25, S-48. */
function checkPeer(field: string, peer: Fields, warn: (text: string) => void): Cause[] {
  const { podSelector, namespaceSelector, ipBlock } = peer;
  if (podSelector === undefined && namespaceSelector === undefined && ipBlock === undefined) {
    return [cause.required(field, 'must specify a peer')];
  }
  const causes = [
    ...checkLabelSelector(`${field}.podSelector`, podSelector),
    ...checkLabelSelector(`${field}.namespaceSelector`, namespaceSelector),
  ];
  if (ipBlock === undefined) return causes;
  if (podSelector !== undefined || namespaceSelector !== undefined) {
    causes.push(cause.forbidden(field, 'may not specify both ipBlock and another peer'));
  }
  return [...causes, ...checkIpBlock(`${field}.ipBlock`, fieldsOf(ipBlock), warn)];
}

function checkIpBlock(field: string, block: Fields, warn: (text: string) => void): Cause[] {
  const cidrText = textOf(block.cidr);
  if (cidrText === '') return [cause.required(`${field}.cidr`)];
  const cidr = parseCidr(cidrText);
  if (!cidr) return [cause.invalid(`${field}.cidr`, cidrText, NOT_A_CIDR)];
  warnOfOddities(`${field}.cidr`, cidrText, cidr, warn);
  return listOf(block.except).flatMap((entry, index) => {
    const exceptField = `${field}.except[${index}]`;
    const except = parseCidr(textOf(entry));
    if (!except) return [cause.invalid(exceptField, entry, NOT_A_CIDR)];
    warnOfOddities(exceptField, textOf(entry), except, warn);
    return isStrictSubset(except, cidr) ? [] : [cause.invalid(exceptField, entry, 'must be a strict subset of `cidr`')];
  });
}

const NOT_A_CIDR = 'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)';

const ODDITY_TEXT: Readonly<Record<CidrOddity, (canonical: string) => string>> = {
  'host-bits': (canonical) => `has bits set beyond its length, which are ignored: write ${canonical}`,
  'non-standard': (canonical) => `is in a form that later releases of Kubernetes refuse: write ${canonical}`,
  'not-canonical': (canonical) => `is not in the canonical form of RFC 5952: write ${canonical}`,
};

function warnOfOddities(field: string, text: string, cidr: ParsedCidr, warn: (text: string) => void): void {
  for (const oddity of cidr.oddities) {
    warn(`${field}: ${JSON.stringify(text)} ${ODDITY_TEXT[oddity](JSON.stringify(cidr.canonical))}`);
  }
}
