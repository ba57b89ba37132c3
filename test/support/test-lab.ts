/** How every test makes a lab: the agents it runs are this clone's, and what goes wrong in the lab is kept for the end. */
import type { Backend, Family } from '../../src/core/vocabulary.ts';
import type { DataplaneChoice } from '../../src/cli/config.ts';
import type { AccessToken } from '../../lab/api/access.ts';
import { Lab } from '../../lab/lab.ts';
import { closeLabNetworksSync } from '../../lab/network/lab-network.ts';
import type { OutsideSpec, Wiring } from '../../lab/network/types.ts';

/** The agent as the sources have it. */
const AGENT_MAIN = new URL('../../src/main.ts', import.meta.url).pathname;

process.on('exit', closeLabNetworksSync);

export interface TestLabOptions {
  /** Absent: iptables. */
  readonly dataplane?: DataplaneChoice;
  readonly backend?: Backend;
  readonly wiring?: Wiring;
  readonly nodes?: readonly string[];
  /** Of every agent, besides those of the lab. */
  readonly agentFlags?: readonly string[];
  readonly families?: readonly Family[];
  readonly outside?: readonly OutsideSpec[];
  /** Rights; agents get the first. */
  readonly tokens?: readonly AccessToken[];
  /** Absent: the sources. */
  readonly program?: readonly [string, ...string[]];
  /** False: the test starts its agents (AgentLab). */
  readonly agents?: boolean;
}

export interface TestLab {
  readonly lab: Lab;
  /** What the lab complained of; a test ends with none. */
  readonly problems: readonly string[];
  /** Objects made from now on are a second younger: creationTimestamp counts seconds. */
  readonly nextSecond: () => void;
}

/** A routed lab of one node, both families and iptables-nft, unless `options` says otherwise. */
export async function createTestLab(options: TestLabOptions = {}): Promise<TestLab> {
  const problems: string[] = [];
  let offsetMs = 0;
  const lab = await Lab.create({
    nodes: ['node-1'],
    wiring: 'routed',
    families: [4, 6],
    dataplane: 'iptables',
    backend: 'iptables-nft',
    mode: 'enforce',
    program: [process.execPath, AGENT_MAIN],
    now: () => Date.now() + offsetMs,
    onProblem: (message) => problems.push(message),
    ...options,
  });
  const nextSecond = (): void => {
    offsetMs += 1000;
  };
  return { lab, problems, nextSecond };
}
