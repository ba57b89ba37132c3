/** The command line of `portcullis render`: a node, where its objects are from, and the settings of its agent that shape rules. */
import type { AgentConfig } from '../config.ts';
import type { Environment, Flag, Given } from '../flags.ts';
import type { LayoutConfig } from '../layout.ts';

import { AGENT_FLAGS } from '../config.ts';
import { outputFlag } from '../output-flag.ts';
import { allValues, optionalValue, requiredValue, UsageProblem } from '../flags.ts';
import { oneOf, readBoolean, readNodeName, readText } from '../read-value.ts';
import { AGENT_POD_FLAGS, type AgentPods, readAgentPods } from '../source/agents.ts';
import { type ObjectSource, readObjectSource, SOURCE_FLAGS } from '../source/options.ts';

const OUTPUTS = ['text', 'json', 'yaml'] as const;
const MODES = ['enforce', 'audit'] as const;

/** As the agent has them, with its variables and defaults. */
const SETTINGS = {
  dataplane: AGENT_FLAGS.dataplane,
  backend: AGENT_FLAGS.backend,
  trunkInterfacePrefix: AGENT_FLAGS.trunkInterfacePrefix,
  newPods: AGENT_FLAGS.newPods,
  podInterfacePrefix: AGENT_FLAGS.podInterfacePrefix,
  connmarkMask: AGENT_FLAGS.connmarkMask,
  nflogGroup: AGENT_FLAGS.nflogGroup,
  dropLogRate: AGENT_FLAGS.dropLogRate,
} as const;

export const RENDER_FLAGS = {
  node: {
    name: 'node',
    placeholder: '<name>',
    help: 'whose rules; may be left out where there is only one',
    read: readNodeName,
  },
  ...SOURCE_FLAGS,
  plan: {
    name: 'plan',
    help: 'only what an agent would change: of --against, else the last plan of the agent that runs on the node',
    read: readBoolean,
  },
  against: {
    name: 'against',
    placeholder: '<file>',
    help:
      'what is there: a bundle of the node, or what iptables-save, ip6tables-save and ipset save print, or nft -p list table inet (and bridge) portcullis; ' +
      'may be repeated',
    read: readText,
  },
  mode: {
    name: 'mode',
    placeholder: '<mode>',
    defaultText: 'enforce',
    help: `${MODES.join(' or ')}: rules that drop, or that count and log`,
    read: oneOf(MODES),
  },
  ...SETTINGS,
  ...AGENT_POD_FLAGS,
  output: outputFlag(OUTPUTS),
} as const satisfies Record<string, Flag<unknown>>;

export interface RenderSettings extends LayoutConfig {
  readonly dataplane: AgentConfig['dataplane'];
  readonly backend: AgentConfig['backend'];
}

export interface RenderOptions extends ObjectSource {
  readonly node: string | undefined;
  readonly mode: (typeof MODES)[number];
  readonly plan: boolean;
  readonly against: readonly string[];
  readonly output: (typeof OUTPUTS)[number];
  readonly agents: AgentPods;
  /** `bundled`: the settings of a bundle's agent, by the names of flags, where the command line gives none. */
  readonly settings: (bundled: Readonly<Record<string, unknown>>) => RenderSettings;
}

/** Throws `UsageProblem`. */
export function readRenderOptions(given: Given, env: Environment): RenderOptions {
  const settings = (bundled: Readonly<Record<string, unknown>>): RenderSettings =>
    readSettings(new Map([...bundledFlags(bundled), ...given]), env);
  settings({});
  const against = allValues(RENDER_FLAGS.against, given);
  const plan = optionalValue(RENDER_FLAGS.plan, given, env) ?? against.length > 0;
  const source = readObjectSource(given, env, 'render');
  const node = optionalValue(RENDER_FLAGS.node, given, env);
  if (plan && against.length === 0 && source.files.length > 0)
    throw new UsageProblem('--plan: manifests are compared with --against: a bundle of the node, or its saved rules');
  if (plan && against.length === 0 && node === undefined) throw new UsageProblem('--node: required with --plan');
  return {
    ...source,
    node,
    mode: requiredValue(RENDER_FLAGS.mode, given, env),
    plan,
    against,
    output: requiredValue(RENDER_FLAGS.output, given, env),
    agents: readAgentPods(given, env),
    settings,
  };
}

function bundledFlags(bundled: Readonly<Record<string, unknown>>): Map<string, readonly string[]> {
  const known = Object.values(SETTINGS).filter(({ name }) => ['string', 'number'].includes(typeof bundled[name]));
  return new Map(known.map(({ name }) => [name, [String(bundled[name])]]));
}

function readSettings(given: Given, env: Environment): RenderSettings {
  const value = <T>(flag: Flag<T>): T => requiredValue(flag, given, env);
  return {
    dataplane: value(SETTINGS.dataplane),
    backend: value(SETTINGS.backend),
    trunkInterfacePrefix: value(SETTINGS.trunkInterfacePrefix),
    newPods: value(SETTINGS.newPods),
    podInterfacePrefixes: value(SETTINGS.podInterfacePrefix),
    connmarkMask: value(SETTINGS.connmarkMask),
    nflogGroup: value(SETTINGS.nflogGroup),
    dropLogRatePerSecond: value(SETTINGS.dropLogRate),
  };
}
