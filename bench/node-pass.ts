/** The pure part of a pass, stage by stage, with the kernel taken to hold what the last pass planned. */
import type { Layout } from '../src/dataplane/iptables/rules/ruleset.ts';
import type { ObservedState, Plan } from '../src/dataplane/iptables/plan/plan.ts';
import type { NodeCompiler } from '../src/compile/compile-node.ts';
import { runSliced } from '../src/core/run-sliced.ts';
import { diff, diffInSteps } from '../src/dataplane/iptables/plan/diff.ts';
import { NodeRenderer } from '../src/dataplane/iptables/render/render-node.ts';

/** As the agent's own defaults (src/cli/config.ts). */
export const LAYOUT: Layout = {
  mode: 'enforce',
  marks: { mask: 0xff000000 },
  trunkInterfacePrefix: 'vlan.eth.',
  log: { group: 9847, perSecond: 10, burst: 20 },
};

const FORWARD_JUMP = { FORWARD: [], INPUT: [] };
export const EMPTY_KERNEL: ObservedState = {
  families: { 4: { chains: new Map(), hooks: FORWARD_JUMP }, 6: { chains: new Map(), hooks: FORWARD_JUMP } },
  sets: new Map(),
};

/** Milliseconds. */
export interface PassTimes {
  readonly compile: number;
  readonly render: number;
  readonly plan: number;
}

export class PurePasses {
  readonly #compiler: NodeCompiler;
  readonly #renderer = new NodeRenderer();
  #kernel = EMPTY_KERNEL;
  #last: Plan | undefined;

  constructor(compiler: NodeCompiler) {
    this.#compiler = compiler;
  }

  /** As the agent does it: others get a turn in between. */
  async passInTurns(): Promise<void> {
    const ruleset = await runSliced(this.#renderer.renderInSteps(this.#compiler.intent(), LAYOUT));
    await runSliced(diffInSteps(ruleset, this.#kernel, {}));
  }

  pass(): { readonly plan: Plan; readonly times: PassTimes } {
    const began = performance.now();
    const intent = this.#compiler.intent();
    const compiled = performance.now();
    const ruleset = this.#renderer.render(intent, LAYOUT);
    const rendered = performance.now();
    const last = this.#last;
    const memory = last ? { released: last.released, lastEpochs: last.epochs, remembered: true } : {};
    const plan = diff(ruleset, this.#kernel, memory);
    const planned = performance.now();
    this.#kernel = plan.after;
    this.#last = plan;
    return { plan, times: { compile: compiled - began, render: rendered - compiled, plan: planned - rendered } };
  }
}
