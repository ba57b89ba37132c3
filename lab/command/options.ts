/** The flags of `portcullis lab`, and the options that they make, with every default. Pure. */
import { type Backend, BACKENDS } from '../../src/core/vocabulary.ts';
import { DATAPLANE_CHOICES, type DataplaneChoice, START_MODES, type StartMode } from '../../src/cli/config.ts';
import { allValues, type Flag, type Given, optionalValue, requiredValue, UsageProblem } from '../../src/cli/flags.ts';
import { integer, notA, oneOf, readBoolean, type Reading } from '../../src/cli/read-value.ts';
import type { Family } from '../../src/core/vocabulary.ts';
import { POLICY_CHANNELS, type PolicyChannel } from '../api/schemas.ts';
import type { DumpShape } from '../adapt-dump.ts';
import type { MatrixPort } from '../matrix.ts';
import type { Wiring } from '../network/types.ts';

export interface LabCommandOptions {
  /** Files, folders, and `-` for standard input. */
  readonly files: readonly string[];
  /** Folders within folders, too. */
  readonly recursive: boolean;
  /** Absent: as the pods of a dump ask for. */
  readonly nodes?: number;
  readonly wiring: Wiring;
  /** Absent: those of a dump's pods. */
  readonly families?: readonly Family[];
  /** Of the agents. */
  readonly dataplane: DataplaneChoice;
  /** Of kubelet and kube-proxy, and of agents that write to iptables. */
  readonly backend: Backend;
  readonly mode: StartMode;
  /** Of the CRD of cluster-wide policies. Absent: as a CRD among the manifests says, else experimental. */
  readonly policyChannel?: PolicyChannel;
  /** Ports to probe; empty: those the pods declare. */
  readonly ports: readonly MatrixPort[];
  readonly timeoutMs: number;
  readonly keep: boolean;
  readonly output: 'text' | 'json';
  /** Show what each policy changes, one after another. */
  readonly steps: boolean;
  /** Instead of manifests: a story that the lab tells by itself. */
  readonly demo?: 'live-download';
}

const MAX_NODES = 20;
const DEFAULT_NODES = 2;
/** Each one has an agent. */
const MAX_DUMP_NODES = 5;
const DEMOS = ['live-download'] as const;

export const LAB_FLAGS = {
  file: {
    name: 'file',
    short: 'f',
    placeholder: '<path>',
    help:
      'manifests to bring up: namespaces, pods, workloads, services, policies, as people write them or as kubectl prints them; may ' +
      'be repeated; - is standard input; a folder with a kustomization is built by kubectl; kinds that the lab has no use for are ' +
      'skipped',
    read: readLocalPath,
  },
  recursive: {
    name: 'recursive',
    short: 'R',
    help: 'read folders within folders, too',
    read: readBoolean,
  },
  demo: {
    name: 'demo',
    placeholder: '<story>',
    help:
      'live-download: a download between two pods goes on untouched by a policy that does not concern it, and is cut by one that ' +
      'does; exit code 1 if not',
    read: oneOf(DEMOS),
  },
  nodes: {
    name: 'nodes',
    placeholder: '<n>',
    help:
      `nodes, 1 to ${MAX_NODES}, called node-1 and so on; absent: 2, or as many as the pods of a cluster's dump are on, ` +
      `${MAX_DUMP_NODES} at most`,
    read: integer(1, MAX_NODES, ''),
  },
  wiring: {
    name: 'wiring',
    placeholder: '<kind>',
    defaultText: 'routed',
    help: 'routed: a route per pod, as AWS VPC CNI and kindnet; bridge: a bridge per node',
    read: oneOf(['routed', 'bridge']),
  },
  families: {
    name: 'families',
    placeholder: '<list>',
    help: "4, 6 or 4,6; absent: 4,6, or those of the pods of a cluster's dump",
    read: readFamilies,
  },
  dataplane: {
    name: 'dataplane',
    placeholder: '<dataplane>',
    defaultText: 'auto',
    help: `${DATAPLANE_CHOICES.join(', ')}: what the agents enforce policies with`,
    read: oneOf(DATAPLANE_CHOICES),
  },
  backend: {
    name: 'backend',
    placeholder: '<kind>',
    defaultText: 'iptables-nft',
    help: `${BACKENDS.join(' or ')}: of kubelet and kube-proxy, and of agents that enforce with iptables (--dataplane iptables)`,
    read: oneOf(BACKENDS),
  },
  mode: {
    name: 'mode',
    placeholder: '<mode>',
    defaultText: 'enforce',
    help: `mode of the agents: ${START_MODES.join(', ')}`,
    read: oneOf(START_MODES),
  },
  policyChannel: {
    name: 'policy-channel',
    placeholder: '<channel>',
    help:
      `${POLICY_CHANNELS.join(' or ')}: which CRD of ClusterNetworkPolicy the API server has; absent: the one among the manifests, ` +
      'else experimental',
    read: oneOf(POLICY_CHANNELS),
  },
  ports: {
    name: 'ports',
    placeholder: '<list>',
    help: 'ports to probe, such as tcp:80,udp:53; absent: what containers declare, the six most frequent',
    read: readPorts,
  },
  timeout: {
    name: 'timeout',
    placeholder: '<seconds>',
    help: 'how long packets may take to follow a change, 1 to 600; absent: 5, with --demo 1',
    read: integer(1, 600, ' seconds'),
  },
  keep: {
    name: 'keep',
    help: 'leave it up, print the KUBECONFIG line, follow changes until interrupted',
    read: readBoolean,
  },
  noSteps: {
    name: 'no-steps',
    help: 'bring all policies in at once instead of one after the other',
    read: readBoolean,
  },
  output: {
    name: 'output',
    short: 'o',
    placeholder: '<format>',
    defaultText: 'text',
    help: 'text or json; with --keep one line of json per change',
    read: oneOf(['text', 'json']),
  },
} as const satisfies Readonly<Record<string, Flag<unknown>>>;

/** Throws `UsageProblem`. */
export function readLabOptions(given: Given): LabCommandOptions {
  const value = <T>(flag: Flag<T>): T | undefined => optionalValue(flag, given, {});
  const required = <T>(flag: Flag<T>): T => requiredValue(flag, given, {});
  const nodes = value(LAB_FLAGS.nodes);
  const families = value(LAB_FLAGS.families);
  const files = allValues(LAB_FLAGS.file, given);
  const demo = value(LAB_FLAGS.demo);
  const policyChannel = value(LAB_FLAGS.policyChannel);
  const keep = value(LAB_FLAGS.keep) ?? false;
  if (demo && (files.length > 0 || keep))
    throw new UsageProblem('--demo brings its own pods and ends by itself: it takes neither --file nor --keep');
  const wiring = required(LAB_FLAGS.wiring);
  const dataplane = required(LAB_FLAGS.dataplane);
  if (files.length === 0 && !keep && !demo)
    throw new UsageProblem(
      'nothing to bring up: name manifests with -f <file, folder or ->, or use --keep for an empty lab',
    );
  return {
    files,
    recursive: value(LAB_FLAGS.recursive) ?? false,
    wiring,
    dataplane,
    backend: required(LAB_FLAGS.backend),
    mode: required(LAB_FLAGS.mode),
    ports: value(LAB_FLAGS.ports) ?? [],
    timeoutMs: (value(LAB_FLAGS.timeout) ?? (demo ? 1 : 5)) * 1000,
    keep,
    output: required(LAB_FLAGS.output),
    steps: !value(LAB_FLAGS.noSteps),
    ...(nodes === undefined ? {} : { nodes }),
    ...(families === undefined ? {} : { families }),
    ...(demo ? { demo } : {}),
    ...(policyChannel ? { policyChannel } : {}),
  };
}

/** What a lab is built with. */
export type LabRunOptions = LabCommandOptions & Required<Pick<LabCommandOptions, 'nodes' | 'families'>>;

/** What was not said, by what was read. */
export function completeOptions(options: LabCommandOptions, dump: DumpShape): LabRunOptions {
  const { nodes, families } = options;
  return {
    ...options,
    nodes: nodes ?? Math.min(MAX_DUMP_NODES, Math.max(DEFAULT_NODES, dump.nodes.length)),
    families: families ?? (dump.families.length > 0 ? dump.families : [4, 6]),
  };
}

/** What enforces policies, in a word. */
export function engineOf<D extends DataplaneChoice>(options: {
  readonly dataplane: D;
  readonly backend: Backend;
}): Backend | Exclude<D, 'iptables'> {
  const { dataplane, backend } = options;
  return dataplane === 'iptables' ? backend : (dataplane as Exclude<D, 'iptables'>);
}

function readLocalPath(path: string): Reading<string> {
  if (!/^https?:\/\//i.test(path)) return { value: path };
  return { problem: `the lab reads nothing from the network: curl -fsSL ${path} | portcullis lab -f -` };
}

function readFamilies(text: string): Reading<readonly Family[]> {
  const families = text.split(',').map((word) => (word === '4' ? 4 : word === '6' ? 6 : undefined));
  if (families.includes(undefined)) return notA(text, '4, 6 or 4,6');
  return { value: [...new Set(families as Family[])] };
}

function readPorts(text: string): Reading<readonly MatrixPort[]> {
  const ports: MatrixPort[] = [];
  for (const part of text.split(',')) {
    const found = /^(tcp|udp|sctp):(\d{1,5})$/i.exec(part);
    const number = Number(found?.[2]);
    if (!found || number < 1 || number > 65535)
      return notA(part, 'like tcp:80, with tcp, udp or sctp and a port from 1 to 65535');
    ports.push({ protocol: found[1]!.toUpperCase() as MatrixPort['protocol'], port: number });
  }
  return { value: ports };
}
