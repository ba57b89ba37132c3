/** Rules for names, labels, ports and selectors that several kinds share. Each returns what is wrong. Pure. */
import { type Cause, cause } from './errors.ts';
import { isObject, textOf } from './json.ts';

const DNS_LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const DNS_1035_LABEL = /^[a-z]([-a-z0-9]*[a-z0-9])?$/;
const DNS_SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const LABEL_NAME = /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const PORT_NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;

export const MAX_DNS_LABEL = 63;
export const MAX_DNS_SUBDOMAIN = 253;
/** RFC 6335, section 5.1. */
export const MAX_PORT_NAME = 15;
const MAX_ANNOTATION_BYTES = 256 * 1024;

export type NameRule = (name: string) => string | undefined;

export const dnsLabel: NameRule = (name) =>
  name.length > MAX_DNS_LABEL
    ? `must be no more than ${MAX_DNS_LABEL} characters`
    : DNS_LABEL.test(name)
      ? undefined
      : "a lowercase RFC 1123 label has only lower case letters, digits and '-', and starts and ends with a letter or digit";

export const dns1035Label: NameRule = (name) =>
  name.length > MAX_DNS_LABEL
    ? `must be no more than ${MAX_DNS_LABEL} characters`
    : DNS_1035_LABEL.test(name)
      ? undefined
      : "an RFC 1035 label has only lower case letters, digits and '-', starts with a letter and ends with a letter or digit";

export const dnsSubdomain: NameRule = (name) =>
  name.length > MAX_DNS_SUBDOMAIN
    ? `must be no more than ${MAX_DNS_SUBDOMAIN} characters`
    : DNS_SUBDOMAIN.test(name)
      ? undefined
      : "a lowercase RFC 1123 subdomain has only lower case letters, digits, '-' and '.', and starts and ends with a letter or digit";

/** For kinds whose names only have to fit in a URL path, such as roles. */
export const pathSegment: NameRule = (name) =>
  name === '.' || name === '..' || /[/%]/.test(name) ? "must not be '.' or '..' nor contain '/' or '%'" : undefined;

/** A name of a port: up to 15 characters of [a-z0-9-], at least one letter, no hyphen at an end or twice in a row. */
export const portName: NameRule = (name) => {
  if (name.length > MAX_PORT_NAME) return `must be no more than ${MAX_PORT_NAME} characters`;
  if (!PORT_NAME.test(name))
    return "must have only lower case letters, digits and '-', and start and end with a letter or digit";
  if (!/[a-z]/.test(name)) return 'must contain at least one letter';
  return name.includes('--') ? 'must not contain consecutive hyphens' : undefined;
};

/** An optional DNS subdomain and '/', then a name of at most 63 characters. */
export const qualifiedKey: NameRule = (key) => {
  const slash = key.indexOf('/');
  const prefix = slash < 0 ? undefined : key.slice(0, slash);
  const name = key.slice(slash + 1);
  if (prefix === '') return 'the prefix part must not be empty';
  const prefixFault = prefix === undefined ? undefined : dnsSubdomain(prefix);
  if (prefixFault !== undefined) return `prefix part: ${prefixFault}`;
  if (name.includes('/')) return 'a qualified name has at most one /';
  if (name === '') return 'the name part must not be empty';
  if (name.length > MAX_DNS_LABEL) return `the name part must be no more than ${MAX_DNS_LABEL} characters`;
  return LABEL_NAME.test(name)
    ? undefined
    : "the name part has only letters, digits, '-', '_' and '.', and starts and ends with a letter or digit";
};

export const labelValue: NameRule = (value) => {
  if (value.length > MAX_DNS_LABEL) return `must be no more than ${MAX_DNS_LABEL} characters`;
  if (value === '' || LABEL_NAME.test(value)) return undefined;
  return "a label value is empty, or has only letters, digits, '-', '_' and '.', and starts and ends with a letter or digit";
};

/** One cause if the rule finds fault. */
export function check(field: string, value: string, rule: NameRule): Cause[] {
  const fault = rule(value);
  return fault === undefined ? [] : [cause.invalid(field, value, fault)];
}

export function checkLabels(field: string, labels: unknown): Cause[] {
  if (!isObject(labels)) return [];
  return Object.entries(labels).flatMap(([key, value]) => [
    ...check(field, key, qualifiedKey),
    ...check(field, textOf(value), labelValue),
  ]);
}

export function checkAnnotations(field: string, annotations: unknown): Cause[] {
  if (!isObject(annotations)) return [];
  const entries = Object.entries(annotations);
  const bytes = entries.reduce(
    (sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(textOf(value)),
    0,
  );
  return [
    ...entries.flatMap(([key]) => check(field, key.toLowerCase(), qualifiedKey)),
    ...(bytes > MAX_ANNOTATION_BYTES ? [cause.tooLong(field, MAX_ANNOTATION_BYTES)] : []),
  ];
}

/** An owner is named in full, no event owns anything, and one reference at most is the controller's. */
export function checkOwnerReferences(field: string, references: unknown): Cause[] {
  if (!Array.isArray(references)) return [];
  const owners = references.filter(isObject);
  const controllers = owners.filter(({ controller }) => controller === true);
  return [
    ...owners.flatMap((owner, index) => checkOwner(`${field}[${index}]`, owner)),
    ...controllers.slice(1).map((owner) => {
      const [first, second] = [controllers[0], owner].map((one) => `${textOf(one?.kind)}/${textOf(one?.name)}`);
      const why = `Only one reference can have Controller set to true. Found "true" in references for ${first} and ${second}`;
      return cause.invalid(field, references, why);
    }),
  ];
}

function checkOwner(field: string, owner: Record<string, unknown>): Cause[] {
  const apiVersion = textOf(owner.apiVersion);
  const causes =
    apiVersion === '' || apiVersion.endsWith('/')
      ? [cause.invalid(`${field}.apiVersion`, apiVersion, 'version must not be empty')]
      : [];
  for (const key of ['kind', 'name', 'uid'] as const) {
    if (textOf(owner[key]) === '') causes.push(cause.invalid(`${field}.${key}`, '', 'must not be empty'));
  }
  if (apiVersion === 'v1' && owner.kind === 'Event') {
    causes.push(cause.invalid(field, owner, '/v1, Kind=Event is disallowed from being an owner'));
  }
  return causes;
}

/** Without a domain there are these three only. */
const STANDARD_FINALIZERS = ['kubernetes', 'orphan', 'foregroundDeletion'];

export function checkFinalizers(field: string, finalizers: unknown): Cause[] {
  const names = Array.isArray(finalizers) ? finalizers.map(textOf) : [];
  const both = names.includes('orphan') && names.includes('foregroundDeletion');
  return [
    ...names.flatMap((name) => check(field, name, qualifiedKey)),
    ...(both ? [cause.invalid(field, names, 'finalizer orphan and foregroundDeletion cannot be both set')] : []),
    ...names.flatMap((name, index) =>
      name.includes('/') || STANDARD_FINALIZERS.includes(name)
        ? []
        : [
            cause.invalid(
              `${field}[${index}]`,
              name,
              'name is neither a standard finalizer name nor is it fully qualified',
            ),
          ],
    ),
  ];
}

const OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist'];

/** A label selector inside an object; absent is fine. */
export function checkLabelSelector(field: string, selector: unknown): Cause[] {
  if (!isObject(selector)) return [];
  const expressions = Array.isArray(selector.matchExpressions) ? selector.matchExpressions : [];
  return [
    ...checkLabels(`${field}.matchLabels`, selector.matchLabels),
    ...expressions.flatMap((term, index) => checkExpression(`${field}.matchExpressions[${index}]`, term)),
  ];
}

function checkExpression(field: string, term: unknown): Cause[] {
  const { key, operator, values } = isObject(term) ? term : {};
  const list = Array.isArray(values) ? values.map(textOf) : [];
  const causes = check(`${field}.key`, textOf(key), qualifiedKey);
  if (operator === 'In' || operator === 'NotIn') {
    if (list.length === 0) {
      causes.push(cause.required(`${field}.values`, "must be given when `operator` is 'In' or 'NotIn'"));
    }
  } else if (operator === 'Exists' || operator === 'DoesNotExist') {
    if (list.length > 0) {
      causes.push(cause.forbidden(`${field}.values`, "may not be given when `operator` is 'Exists' or 'DoesNotExist'"));
    }
  } else {
    causes.push(cause.notSupported(`${field}.operator`, operator ?? '', OPERATORS));
  }
  return [...causes, ...list.flatMap((value, index) => check(`${field}.values[${index}]`, value, labelValue))];
}

export const PROTOCOLS = ['SCTP', 'TCP', 'UDP'];

export function checkProtocol(field: string, protocol: unknown): Cause[] {
  return PROTOCOLS.includes(textOf(protocol)) ? [] : [cause.notSupported(field, protocol, PROTOCOLS)];
}

export function checkPortNumber(field: string, port: unknown): Cause[] {
  const fine = typeof port === 'number' && Number.isInteger(port) && port >= 1 && port <= 65535;
  return fine ? [] : [cause.invalid(field, port, 'must be between 1 and 65535, inclusive')];
}
