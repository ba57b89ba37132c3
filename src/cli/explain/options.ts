import type { Cidr } from '../../net/cidr.ts';
import type { Environment, Flag, Given } from '../flags.ts';
import type { Reader, Reading } from '../read-value.ts';
import type { AskedPort } from './questions.ts';

import { PROTOCOLS } from '../../core/vocabulary.ts';
import { parseCidr } from '../../net/cidr.ts';
import { allValues, optionalValue, requiredValue, UsageProblem } from '../flags.ts';
import { notA, oneOf, readBoolean, readText } from '../read-value.ts';

const OUTPUTS = ['text', 'json', 'yaml'] as const;

export interface ObjectSource {
  /** Empty: the cluster is asked. */
  readonly files: readonly string[];
  readonly recursive: boolean;
  readonly kubeconfig: string | undefined;
  readonly namespace: string;
  readonly podCidr: Cidr;
}

export interface ExplainOptions extends ObjectSource {
  readonly source: string;
  readonly destination: string;
  readonly ports: readonly AskedPort[];
  readonly output: (typeof OUTPUTS)[number];
}

/** Where the objects are from: of every command that looks at a cluster, or at what may become one. */
export const SOURCE_FLAGS = {
  file: {
    name: 'file',
    short: 'f',
    placeholder: '<path>',
    help: 'manifests instead of a cluster: files, folders, or - for standard input; may be repeated',
    read: readText,
  },
  recursive: { name: 'recursive', short: 'R', help: 'read folders within folders, too', read: readBoolean },
  kubeconfig: {
    name: 'kubeconfig',
    env: 'KUBECONFIG',
    placeholder: '<file>',
    help: 'of the cluster to ask where no manifests are given',
    read: readText,
  },
  namespace: {
    name: 'namespace',
    short: 'n',
    placeholder: '<name>',
    defaultText: 'default',
    help: 'of ends and manifests that name none',
    read: readText,
  },
  podCidr: {
    name: 'pod-cidr',
    placeholder: '<cidr>',
    defaultText: '198.18.0.0/15',
    help: 'addresses for pods that have none yet, as blocks in policies may or may not hold them',
    read: readCidr,
  },
} as const satisfies Record<string, Flag<unknown>>;

export const EXPLAIN_FLAGS = {
  port: {
    name: 'port',
    short: 'p',
    placeholder: '<port>',
    help: 'destination port: number or name, with /TCP (unless said), /UDP or /SCTP; may be repeated; of a Service its own, all if absent',
    read: readPort,
  },
  ...SOURCE_FLAGS,
  output: {
    name: 'output',
    short: 'o',
    placeholder: '<format>',
    defaultText: 'text',
    help: OUTPUTS.join(', '),
    read: oneOf(OUTPUTS),
  },
} as const satisfies Record<string, Flag<unknown>>;

/** Throws `UsageProblem`. */
export function readExplainOptions(given: Given, env: Environment, operands: readonly string[]): ExplainOptions {
  const [source = '', destination = ''] = operands;
  return {
    source,
    destination,
    ports: allValues(EXPLAIN_FLAGS.port, given),
    output: requiredValue(EXPLAIN_FLAGS.output, given, env),
    ...readObjectSource(given, env),
  };
}

/** Throws `UsageProblem`. */
export function readObjectSource(given: Given, env: Environment): ObjectSource {
  const files = allValues(SOURCE_FLAGS.file, given);
  const web = files.find((file) => /^https?:\/\//i.test(file));
  if (web !== undefined)
    throw new UsageProblem(`--file: nothing is read from the network: curl -fsSL ${web} | portcullis explain -f - ...`);
  return {
    files,
    recursive: optionalValue(SOURCE_FLAGS.recursive, given, env) ?? false,
    kubeconfig: optionalValue(SOURCE_FLAGS.kubeconfig, given, env),
    namespace: requiredValue(SOURCE_FLAGS.namespace, given, env),
    podCidr: requiredValue(SOURCE_FLAGS.podCidr, given, env),
  };
}

function readPort(text: string): Reading<AskedPort> {
  const [, name = '', word] = /^([^/]+)(?:\/(\w+))?$/.exec(text) ?? [];
  const protocol = PROTOCOLS.find((each) => each === word?.toUpperCase());
  const isNumber = /^\d+$/.test(name);
  const port = isNumber ? Number(name) : name;
  const isPort = isNumber ? Number(name) >= 1 && Number(name) <= 65_535 : /^[a-z0-9-]*[a-z][a-z0-9-]*$/.test(name);
  if (!isPort || (word !== undefined && !protocol))
    return notA(text, 'a port: 80, 53/UDP or a name, from 1 to 65535, with TCP, UDP or SCTP');
  return { value: { port, protocol } };
}

function readCidr(text: string): ReturnType<Reader<Cidr>> {
  const cidr = parseCidr(text);
  return cidr ? { value: cidr } : notA(text, 'a block of addresses like 10.244.0.0/16');
}
