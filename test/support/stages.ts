/** The stages as functions of whole values, without what they keep from one event to the next. */
import { runSync } from '../../src/core/sliced.ts';
import { NodeCompiler, loadSnapshot } from '../../src/compile/compile-node.ts';
import type { NodeIntent } from '../../src/compile/intent.ts';
import type { SharingLimits } from '../../src/compile/shared-peers.ts';
import { NodeRenderer } from '../../src/dataplane/iptables/render/render-node.ts';
import type { Layout, Ruleset } from '../../src/dataplane/iptables/rules/ruleset.ts';
import { NO_INTERFACES, type PodInterfaces } from '../../src/host/pod-interfaces.ts';
import type { ClusterSnapshot } from '../../src/policy/model.ts';

/** Each rule for itself. */
export const NOTHING_SHARED: SharingLimits = { ownSets: Number.POSITIVE_INFINITY, ownPorts: Number.POSITIVE_INFINITY };

/** Compiles what `nodeName` must enforce from a whole snapshot. */
export function compileNode(snapshot: ClusterSnapshot, nodeName: string, limits?: SharingLimits): NodeIntent {
  const compiler = new NodeCompiler(nodeName, limits);
  loadSnapshot(compiler, snapshot);
  return compiler.intent();
}

export function renderNode(intent: NodeIntent, layout: Layout, interfaces: PodInterfaces = NO_INTERFACES): Ruleset {
  return runSync(new NodeRenderer().renderInSteps(intent, layout, interfaces));
}
