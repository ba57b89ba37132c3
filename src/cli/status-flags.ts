/** The flags of `portcullis status`. */
import { AGENT_FLAGS } from './config.ts';
import { type Environment, type Flag, type Given, optionalValue, requiredValue } from './flags.ts';
import { outputFlag } from './output-flag.ts';
import { integer, notA, type Reading, readText } from './read-value.ts';

export interface StatusFlags {
  readonly kubeconfig: string | undefined;
  readonly namespace: string;
  readonly selector: string;
  readonly port: number;
  /** `namespace/name`. */
  readonly policy: string | undefined;
  readonly tokenFile: string | undefined;
  readonly timeoutMs: number;
  readonly output: 'text' | 'json';
}

export const OUTPUT_FLAG = outputFlag(['text', 'json']);

export const STATUS_FLAGS = {
  policy: {
    name: 'policy',
    placeholder: '<namespace/name>',
    help: 'ask about this policy alone; absent: about all of them, and whether the nodes are ready',
    read: readPolicyName,
  },
  kubeconfig: {
    name: 'kubeconfig',
    placeholder: '<file>',
    env: AGENT_FLAGS.kubeconfig.env,
    help: "kubeconfig file whose rights are used; absent: a pod's service account, or ~/.kube/config",
    read: readText,
  },
  namespace: {
    name: 'namespace',
    short: 'n',
    placeholder: '<name>',
    defaultText: 'kube-system',
    help: 'where the agents are',
    read: readText,
  },
  selector: {
    name: 'selector',
    short: 'l',
    placeholder: '<labels>',
    defaultText: 'app.kubernetes.io/name=portcullis',
    help: "label selector of the agents' pods",
    read: readText,
  },
  port: {
    name: 'port',
    placeholder: '<number>',
    defaultText: '9848',
    help: "the agents' --metrics-address, where their pods name no port metrics",
    read: integer(1, 65_535, ''),
  },
  tokenFile: {
    name: 'token-file',
    placeholder: '<file>',
    help: 'file with the token that agents with --http-token-file ask for',
    read: readText,
  },
  timeout: {
    name: 'timeout',
    placeholder: '<seconds>',
    defaultText: '5',
    help: 'how long each answer is waited for, 1 to 600',
    read: integer(1, 600, ' seconds'),
  },
  output: OUTPUT_FLAG,
} as const satisfies Readonly<Record<string, Flag<unknown>>>;

/** Throws `UsageProblem`. */
export function readStatusFlags(given: Given, env: Environment): StatusFlags {
  return {
    kubeconfig: optionalValue(STATUS_FLAGS.kubeconfig, given, env),
    namespace: requiredValue(STATUS_FLAGS.namespace, given, env),
    selector: requiredValue(STATUS_FLAGS.selector, given, env),
    port: requiredValue(STATUS_FLAGS.port, given, env),
    policy: optionalValue(STATUS_FLAGS.policy, given, env),
    tokenFile: optionalValue(STATUS_FLAGS.tokenFile, given, env),
    timeoutMs: requiredValue(STATUS_FLAGS.timeout, given, env) * 1000,
    output: requiredValue(STATUS_FLAGS.output, given, env),
  };
}

function readPolicyName(text: string): Reading<string> {
  return /^[^/\s]+\/[^/\s]+$/.test(text) ? { value: text } : notA(text, 'namespace/name of a policy');
}
