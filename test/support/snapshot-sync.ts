/** Syncs of the iptables data plane with whole clusters: each is compiled from nothing, unless the test compiles by itself. */
import type { NodeIntent } from '../../src/compile/intent.ts';
import type { Mode } from '../../src/core/vocabulary.ts';
import type { SyncOptions, SyncResult } from '../../src/dataplane/iptables/sync/one-sync.ts';
import type { Layout } from '../../src/dataplane/iptables/rules/ruleset.ts';
import type { PodInterfaces } from '../../src/host/pod-interfaces.ts';
import type { ClusterSnapshot } from '../../src/policy/model.ts';

import { compileNode } from './stages.ts';
import { Synchronizer } from '../../src/dataplane/iptables/sync/synchronizer.ts';
import { NO_INTERFACES } from '../../src/host/pod-interfaces.ts';

export interface SnapshotSyncOptions extends Omit<SyncOptions, 'layout'> {
  readonly nodeName: string;
  readonly interfaces?: (intent: NodeIntent) => PodInterfaces;
  readonly compile?: (snapshot: ClusterSnapshot) => NodeIntent | Promise<NodeIntent>;
}

export interface SnapshotResult extends SyncResult {
  /** Absent in mode off. */
  readonly intent: NodeIntent | undefined;
}

export class SnapshotSync {
  readonly #options: SnapshotSyncOptions;
  readonly #synchronizer: Synchronizer;
  #layout: Omit<Layout, 'mode'> = { trunkInterfacePrefix: '' };

  constructor(options: SnapshotSyncOptions) {
    const layout = (): Omit<Layout, 'mode'> => this.#layout;
    this.#options = options;
    this.#synchronizer = new Synchronizer({
      ...options,
      // Tests change it from one sync to the next.
      get layout() {
        return layout();
      },
    });
  }

  /** Never rejects for what the kernel or a tool does. */
  async sync(
    snapshot: ClusterSnapshot,
    mode: Mode,
    layout: Omit<Layout, 'mode'>,
    resync: boolean,
  ): Promise<SnapshotResult> {
    this.#layout = layout;
    if (mode === 'off') return { ...(await this.#synchronizer.remove({ resync })), intent: undefined };
    const { nodeName, compile, interfaces } = this.#options;
    const intent = await (compile?.(snapshot) ?? compileNode(snapshot, nodeName));
    const request = { mode, resync, interfaces: interfaces?.(intent) ?? NO_INTERFACES };
    return { ...(await this.#synchronizer.sync(intent, request)), intent };
  }

  onEpochDue(callback: () => void): void {
    this.#synchronizer.onEpochDue(callback);
  }

  closeToNewPods(layout: Omit<Layout, 'mode'>): ReturnType<Synchronizer['closeToNewPods']> {
    this.#layout = layout;
    const { nodeName, interfaces } = this.#options;
    const nothing = compileNode(
      { pods: new Map(), namespaces: new Map(), policies: new Map(), nodes: new Map(), problems: [] },
      nodeName,
    );
    return this.#synchronizer.closeToNewPods(interfaces?.(nothing) ?? NO_INTERFACES);
  }
}
