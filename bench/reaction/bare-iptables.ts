/** The bare commands of iptables: a restore of rules, or of sets, by a process started for it. */
import type { Backend } from '../../src/core/vocabulary.ts';
import { Namespace, type Testbed } from '../packet/testbed.ts';
import { sleep } from '../stalls.ts';
import { type BareNode, type BareTimes, isOfRules } from './bare.ts';
import { type Kind, PROBES, SERVER } from './cluster.ts';
import { Helper } from './helper.ts';

const ADDED = '10.2.254.1';
/** Longer than a sync takes; how often it is waited for. */
const SETTLE_MS = 300;
const SAVE_ATTEMPTS = 10;
/** Rules of a chain as small as a policy makes it. */
const CHAIN_RULES = 3;
/** Sets of the hand's own, each as large as one of remote pods. */
const SETS = 60;
const SET_MEMBERS = 100;

interface Tool {
  readonly save: string;
  readonly restore: readonly [string, ...string[]];
}

export class BareIptables implements BareNode {
  readonly #namespace: Namespace;
  readonly #hand: Helper;
  readonly #restore: Tool['restore'];
  #count = 0;

  private constructor(namespace: Namespace, hand: Helper, restore: Tool['restore']) {
    this.#namespace = namespace;
    this.#hand = hand;
    this.#restore = restore;
  }

  static async open(testbed: Testbed, backend: Backend): Promise<BareIptables> {
    const namespace = await Namespace.open();
    try {
      const tool = toolOf(backend);
      const { sets, rules } = await savedBy(testbed, tool.save);
      await namespace.run(['ipset', 'restore'], sets);
      await namespace.run(tool.restore, rules);
      await namespace.run(['ipset', 'restore'], Array.from({ length: SETS }, (_, index) => setText(index)).join(''));
      return new BareIptables(namespace, new Helper((argv) => namespace.inside(argv)), tool.restore);
    } catch (error) {
      await namespace.close();
      throw error;
    }
  }

  async run(kind: Kind, sets: number): Promise<BareTimes> {
    return { command: isOfRules(kind) ? await this.#addRules() : await this.#addMember(sets) };
  }

  async close(): Promise<void> {
    this.#hand.stop();
    await this.#namespace.close();
  }

  /** A new chain, and the jump to it above the others. */
  async #addRules(): Promise<number> {
    const chain = `BARE-${++this.#count}`;
    const ports = Array.from({ length: CHAIN_RULES }, (_, index) => PROBES['policy edited'].port + index);
    const rules = ports.map(
      (port) => `-A ${chain} -p udp -m set --match-set ${setName(0)} src -m udp --dport ${port} -j RETURN`,
    );
    const jump = `FORWARD 1 -d ${SERVER}/32 -j ${chain}`;
    const text = (...lines: readonly string[]): string => ['*mangle', ...lines, 'COMMIT', ''].join('\n');
    const ms = await this.#hand.run([...this.#restore, '--noflush'], text(`:${chain} - [0:0]`, ...rules, `-I ${jump}`));
    await this.#namespace.run([...this.#restore, '--noflush'], text('-D FORWARD 1', `-F ${chain}`, `-X ${chain}`));
    return ms;
  }

  async #addMember(count: number): Promise<number> {
    const names = Array.from({ length: Math.min(SETS, Math.max(1, count)) }, (_, index) => setName(index));
    const lines = (verb: string): string => names.map((name) => `${verb} ${name} ${ADDED}\n`).join('');
    const ms = await this.#hand.run(['ipset', 'restore', '-exist'], lines('add'));
    await this.#namespace.run(['ipset', 'restore', '-exist'], lines('del'));
    return ms;
  }
}

/** What the node holds; asked for again while the agent is at work, as a rule may then name a set that is gone. */
async function savedBy({ node }: Testbed, save: string): Promise<{ readonly sets: string; readonly rules: string }> {
  for (let attempt = 1; ; attempt++) {
    await sleep(SETTLE_MS);
    try {
      return { sets: await node.run(['ipset', 'save']), rules: await node.run([save, '-t', 'mangle']) };
    } catch (error) {
      if (attempt === SAVE_ATTEMPTS) throw error;
    }
  }
}

function setName(index: number): string {
  return `BARE-S-${index}`;
}

function setText(index: number): string {
  const members = Array.from({ length: SET_MEMBERS }, (_, member) => `add ${setName(index)} 10.9.0.${member}\n`);
  return `create ${setName(index)} hash:ip\n${members.join('')}`;
}

function toolOf(backend: Backend): Tool {
  return { save: `${backend}-save`, restore: [`${backend}-restore`] };
}
