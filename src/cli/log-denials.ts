/** The part that tells of denied packets: a reader of the netfilter log group, and who explains what it reads. */
import type { ClusterWatch } from '../cluster/watch-cluster.ts';
import type { AddressDirectory } from '../compile/address-directory.ts';
import type { PodInterfaces } from '../host/pod-interfaces.ts';
import type { Condition } from '../telemetry/condition.ts';
import type { Logger } from '../telemetry/log.ts';
import type { AgentMetrics } from '../telemetry/metrics.ts';
import type { AgentConfig } from './config.ts';
import type { TellingDataplane } from './node-dataplane.ts';

import { afterUnlessExit, systemClock } from '../core/clock.ts';
import { PacketLog } from '../host/packet-log.ts';
import { familyOf } from '../net/ip.ts';
import {
  DenialLog,
  type DropLogState,
  dropLogReady,
  logDropLogState,
  type RecentDenial,
} from '../telemetry/denial-log.ts';
import { deniedPacket } from '../telemetry/denial-record.ts';

export interface Denials {
  readonly condition: Condition;
  /** For the page; the latest first. */
  page(): { readonly reader: DropLogState['kind']; readonly denials: readonly RecentDenial[] };
  /** Begins to read; once. */
  start(): void;
  stop(): Promise<void>;
}

interface DenialsOptions {
  readonly config: AgentConfig;
  readonly cluster: ClusterWatch;
  readonly dataplane: Pick<TellingDataplane, 'denial'>;
  /** Not asked before `start`. */
  readonly directory: () => AddressDirectory;
  readonly interfaces: () => PodInterfaces['pods'];
  readonly metrics: AgentMetrics;
  readonly log: Logger;
}

export function logDenials(options: DenialsOptions): Denials {
  const { config, cluster, dataplane, directory, interfaces, metrics, log } = options;
  const off = offBy(config);
  const clock = { now: () => systemClock.now(), after: afterUnlessExit };
  const denials = new DenialLog({
    world: () => ({
      nodeName: config.nodeName,
      snapshot: cluster.snapshot(),
      directory: directory(),
      interfaces: interfaces(),
    }),
    metrics,
    log,
    clock,
    timestamp: () => new Date().toISOString(),
  });
  const reader = new PacketLog({
    group: config.nflogGroup,
    onPacket: (packet) => {
      const denial = dataplane.denial(packet.prefix, familyOf(packet.source));
      if (denial) denials.packet(deniedPacket(packet, denial));
    },
    onLost: (packets) => denials.leftOut('lost', packets),
    onState: logDropLogState(log),
    clock,
  });
  const state = (): DropLogState => (off === undefined ? reader.state : { kind: 'off', flag: off });
  return {
    condition: { name: 'drop-log', state: () => dropLogReady(state()) },
    page: () => ({ reader: state().kind, denials: denials.recent() }),
    start: () => {
      if (off === undefined) reader.start();
    },
    stop: () => {
      reader.stop();
      return denials.stop();
    },
  };
}

/** The flag that switches it off, if any does. */
function offBy({ dropLog, dropLogRatePerSecond }: AgentConfig): string | undefined {
  if (!dropLog) return '--drop-log=false';
  return dropLogRatePerSecond === 0 ? '--drop-log-rate=0' : undefined;
}
