/**
 * The bare transactions of nftables: over an `nft -i` that is kept open, as the agent has one, and beside that by a new `nft -f`. With
 * rules: a new chain, and the address of a pod turned over to it. With members: an address into as many sets as it takes.
 */
import { Namespace, type Testbed } from '../packet/testbed.ts';
import { type BareNode, type BareTimes, isOfRules } from './bare.ts';
import { type Kind, PROBES, SERVER } from './cluster.ts';
import { Helper } from './helper.ts';

const TABLE = 'inet portcullis';
const ADDED = '10.2.254.1';
/** Rules of a chain as small as a policy makes it. */
const CHAIN_RULES = 3;
/** Sets of the hand's own, each as large as one of remote pods. */
const SETS = 60;
const SET_MEMBERS = 100;

/** What is timed, and what takes it back. */
interface Change {
  readonly forth: readonly string[];
  readonly back: readonly string[];
}

export class BareNftables implements BareNode {
  readonly #namespace: Namespace;
  readonly #hand: Helper;
  #count = 0;

  private constructor(namespace: Namespace, hand: Helper) {
    this.#namespace = namespace;
    this.#hand = hand;
  }

  static async open({ node }: Testbed): Promise<BareNftables> {
    const namespace = await Namespace.open();
    try {
      await namespace.run(['nft', '-f', '-'], await node.run(['nft', '-s', 'list', 'table', ...words(TABLE)]));
      await namespace.run(['nft', '-f', '-'], [mapText(), ...setTexts()].join('\n'));
      return new BareNftables(namespace, new Helper((argv) => namespace.inside(argv)));
    } catch (error) {
      await namespace.close();
      throw error;
    }
  }

  async run(kind: Kind, sets: number): Promise<BareTimes> {
    const { forth, back } = isOfRules(kind) ? this.#rules() : members(sets);
    const undo = (): Promise<unknown> => this.#namespace.run(['nft', '-f', '-'], `${back.join('\n')}\n`);
    const command = await this.#hand.transact(forth.join('; '));
    await undo();
    const process = await this.#hand.run(['nft', '-f', '-'], `${forth.join('\n')}\n`);
    await undo();
    return { command, process };
  }

  async close(): Promise<void> {
    this.#hand.stop();
    await this.#namespace.close();
  }

  #rules(): Change {
    const chain = `bare-${++this.#count}`;
    const ports = Array.from({ length: CHAIN_RULES }, (_, index) => PROBES['policy edited'].port + index);
    const element = (target: string): string => `element ${TABLE} bare-map { ${SERVER}${target} }`;
    return {
      forth: [
        `add chain ${TABLE} ${chain}`,
        ...ports.map((port) => `add rule ${TABLE} ${chain} udp dport ${port} ip saddr @${setName(0)} counter return`),
        `delete ${element('')}`,
        `add ${element(` : goto ${chain}`)}`,
      ],
      back: [
        `delete ${element('')}`,
        `add ${element(' : return')}`,
        `flush chain ${TABLE} ${chain}`,
        `delete chain ${TABLE} ${chain}`,
      ],
    };
  }
}

function members(count: number): Change {
  const names = Array.from({ length: Math.min(SETS, Math.max(1, count)) }, (_, index) => setName(index));
  const lines = (verb: string): string[] => names.map((name) => `${verb} element ${TABLE} ${name} { ${ADDED} }`);
  return { forth: lines('add'), back: lines('delete') };
}

function mapText(): string {
  return [
    `add map ${TABLE} bare-map { type ipv4_addr : verdict; }`,
    `add element ${TABLE} bare-map { ${SERVER} : return }`,
    '',
  ].join('\n');
}

function setTexts(): string[] {
  const elements = Array.from({ length: SET_MEMBERS }, (_, member) => `10.9.0.${member}`).join(', ');
  return Array.from(
    { length: SETS },
    (_, index) =>
      `add set ${TABLE} ${setName(index)} { type ipv4_addr; }\nadd element ${TABLE} ${setName(index)} { ${elements} }\n`,
  );
}

function setName(index: number): string {
  return `bare-s-${index}`;
}

function words(text: string): readonly string[] {
  return text.split(' ');
}
