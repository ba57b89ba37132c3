/** Opens the kernel: which iptables variant, which families. */
import { FAMILIES } from '../core/vocabulary.ts';
import type { HostKernel } from '../dataplane/iptables/kernel/host-kernel.ts';
import type { AgentMetrics } from '../telemetry/metrics.ts';
import type { Logger } from '../telemetry/log.ts';
import type { SyncOptions } from '../dataplane/iptables/sync/one-sync.ts';
import type { AgentConfig } from './config.ts';

import { createHostKernel } from '../dataplane/iptables/kernel/host-kernel.ts';
import { KernelUnreadable } from '../dataplane/iptables/kernel/kernel.ts';
import { toolName } from '../dataplane/iptables/kernel/linux-kernel.ts';
import { hostHasIpv6, readTableNames } from '../dataplane/iptables/kernel/list-rules.ts';
import { FeatureWatch } from '../dataplane/iptables/kernel/probe-features.ts';
import { CommandFailed, type RunCommand, runCommand } from '../host/command.ts';

export interface AgentKernel {
  readonly kernel: HostKernel;
  /** See SyncOptions. */
  readonly missingFeatures: NonNullable<SyncOptions['missingFeatures']>;
}

interface AgentKernelOptions {
  readonly config: Pick<AgentConfig, 'backend' | 'dataplane' | 'xtablesLockWaitSeconds'>;
  /** Runs the tools that write. */
  readonly run: RunCommand;
  readonly metrics: AgentMetrics;
  readonly log: Logger;
}

/** To be opened before it is asked. */
export function createKernel({ config, run, metrics, log }: AgentKernelOptions): AgentKernel {
  const { dataplane } = config;
  const kernel = createHostKernel({
    choice: config.backend,
    run,
    read: runCommand,
    readTableNames,
    hasIpv6: hostHasIpv6,
    lockWaitSeconds: config.xtablesLockWaitSeconds,
    onBackend: ({ backend, why, doubt }, before) => {
      metrics.backend(backend, dataplane);
      metrics.tools(['ipset', ...FAMILIES.map((family) => toolName(backend, family, 'restore'))]);
      const unsure = doubt === undefined ? '' : `; not sure: ${doubt}`;
      if (before === undefined) log.info(`writing to ${backend}: ${why}${unsure}`);
      else log.warn(`this host moved from ${before} to ${backend} (${why}); the rules are moved as well${unsure}`);
    },
    onCommand: ({ tool, write, durationMs, waitedForLock }) => {
      if (write) metrics.kernelWrite(tool);
      if (waitedForLock) metrics.xtablesLockWait(durationMs / 1000);
      log.debug('command', { tool, write, durationMs: Math.round(durationMs) });
    },
  });
  const features = new FeatureWatch({
    run: runCommand,
    lockWaitSeconds: config.xtablesLockWaitSeconds,
    onUnknown: ({ message }) => log.warn(`cannot find out what this kernel can do, asking again: ${message}`),
  });
  return {
    kernel,
    missingFeatures: (question) =>
      features.missing(
        { families: kernel.families, restoreOf: (family) => toolName(kernel.backend, family, 'restore') },
        question,
      ),
  };
}

/** What stamps flows (see HostKernel), or why the kernel cannot be opened yet. */
export async function openKernel(
  kernel: HostKernel,
): Promise<{ readonly stamping: Awaited<ReturnType<HostKernel['open']>> } | { readonly problem: string }> {
  try {
    return { stamping: await kernel.open() };
  } catch (error) {
    if (!(error instanceof CommandFailed || error instanceof KernelUnreadable)) throw error;
    return { problem: `the netfilter tools do not work: ${error.message}` };
  }
}
