/** What of the agent's settings shapes its rules. */
import type { IptablesOptions } from '../dataplane/iptables/iptables-dataplane.ts';
import type { AgentConfig } from './config.ts';

/** With the default rate a burst of this many seconds' worth is logged before the limit bites. */
const LOG_BURST_SECONDS = 2;

export type LayoutConfig = Pick<
  AgentConfig,
  'trunkInterfacePrefix' | 'newPods' | 'podInterfacePrefixes' | 'connmarkMask' | 'nflogGroup' | 'dropLogRatePerSecond'
>;

export function layoutOf(config: LayoutConfig): IptablesOptions['layout'] {
  const perSecond = config.dropLogRatePerSecond;
  return {
    trunkInterfacePrefix: config.trunkInterfacePrefix,
    ...(config.newPods === 'closed' ? { newPods: { interfacePrefixes: config.podInterfacePrefixes } } : {}),
    ...(config.connmarkMask === null ? {} : { marks: { mask: config.connmarkMask } }),
    ...(perSecond === 0 ? {} : { log: { group: config.nflogGroup, perSecond, burst: perSecond * LOG_BURST_SECONDS } }),
  };
}
