import type { Environment, Flag, Given } from '../flags.ts';

import { requiredValue } from '../flags.ts';
import { integer } from '../read-value.ts';
import { AGENT_POD_FLAGS, type AgentPods, readAgentPods } from '../source/agents.ts';
import { type ObjectSource, readObjectSource, SOURCE_FLAGS } from '../source/options.ts';

export const UI_FLAGS = {
  port: {
    name: 'port',
    placeholder: '<number>',
    defaultText: '0',
    help: 'of 127.0.0.1, where the page is; 0: any free one',
    read: integer(0, 65_535, ''),
  },
  ...SOURCE_FLAGS,
  ...AGENT_POD_FLAGS,
} as const satisfies Record<string, Flag<unknown>>;

export interface UiOptions extends ObjectSource {
  readonly port: number;
  readonly agents: AgentPods;
}

/** Throws `UsageProblem`. */
export function readUiOptions(given: Given, env: Environment): UiOptions {
  return {
    ...readObjectSource(given, env, 'ui'),
    port: requiredValue(UI_FLAGS.port, given, env),
    agents: readAgentPods(given, env),
  };
}
