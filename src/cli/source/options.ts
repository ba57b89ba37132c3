/** Where commands that look at a cluster, or at what may become one, have its objects from. */
import type { Cidr } from '../../net/cidr.ts';
import type { Environment, Flag, Given } from '../flags.ts';
import type { Reader } from '../read-value.ts';

import { parseCidr } from '../../net/cidr.ts';
import { allValues, optionalValue, requiredValue, UsageProblem } from '../flags.ts';
import { notA, readBoolean, readText } from '../read-value.ts';

export interface ObjectSource {
  /** Empty: the cluster is asked. */
  readonly files: readonly string[];
  readonly recursive: boolean;
  readonly kubeconfig: string | undefined;
  readonly namespace: string;
  readonly podCidr: Cidr;
}

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

/** Throws `UsageProblem`. */
export function readObjectSource(given: Given, env: Environment, command: string): ObjectSource {
  const files = allValues(SOURCE_FLAGS.file, given);
  const web = files.find((file) => /^https?:\/\//i.test(file));
  if (web !== undefined)
    throw new UsageProblem(
      `--file: nothing is read from the network: curl -fsSL ${web} | portcullis ${command} -f - ...`,
    );
  return {
    files,
    recursive: optionalValue(SOURCE_FLAGS.recursive, given, env) ?? false,
    kubeconfig: optionalValue(SOURCE_FLAGS.kubeconfig, given, env),
    namespace: requiredValue(SOURCE_FLAGS.namespace, given, env),
    podCidr: requiredValue(SOURCE_FLAGS.podCidr, given, env),
  };
}

function readCidr(text: string): ReturnType<Reader<Cidr>> {
  const cidr = parseCidr(text);
  return cidr ? { value: cidr } : notA(text, 'a block of addresses like 10.244.0.0/16');
}
